"""TensorBoard, and whatever takes the same values beside it."""

from importlib.util import find_spec
from logging import Logger
from pathlib import Path
from time import time
from typing import Any

from utils import distributed
from utils.errors import in_one_line


def _adder(name: str) -> Any:
    """A method that calls that of SummaryWriter with the step and the mode."""

    def add(self: "TensorboardWriter", tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        self._add(name, self._of_mode(tag), data, *args, **kwargs)

    return add


class TensorboardWriter:
    """TensorBoard's SummaryWriter with the step and the mode ("train", "valid") set once for all.

    The event file is opened by the first value. Where `enabled` is false, or tensorboard is not
    installed, there is none. `trackers` have the same methods and get the same values; one that
    fails is left out from then on.
    """

    def __init__(self, log_dir: str | Path, logger: Logger, enabled: bool) -> None:
        self.log_dir = log_dir
        self.logger = logger
        self.enabled = enabled
        self.trackers: list[Any] = []
        self.step = 0
        self.mode = ""
        self._writer: Any = None
        self._waiting: list[tuple[dict[str, float], int, float]] = []  # values, their step and time
        self._written = 0.0  # the time when others were
        if enabled and find_spec("tensorboard") is None:
            logger.warning("tensorboard is not installed: no event files (pip install tensorboard)")
            self.enabled = False

    @property
    def writer(self) -> Any:
        """The SummaryWriter itself; None where nothing is written."""
        if self._writer is None and self.enabled:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            # What an earlier process has written of this step and after is not shown any more
            self._writer = SummaryWriter(str(self.log_dir), purge_step=self.step or None)
        return self._writer

    def set_step(self, step: int, mode: Any = "train") -> None:
        """What follows is of this step and mode."""
        self.step = step
        self.mode = getattr(mode, "value", mode)  # of an Enum too

    add_scalar, add_scalars = _adder("add_scalar"), _adder("add_scalars")
    add_image, add_images = _adder("add_image"), _adder("add_images")
    add_figure, add_audio, add_text = _adder("add_figure"), _adder("add_audio"), _adder("add_text")

    def add_values(self, values: dict[str, float]) -> None:
        """Scalars of one step by tag. Those of a second are written together, or with `flush`."""
        values = {self._of_mode(tag): value for tag, value in values.items()}
        self._waiting.append((values, self.step, time()))
        if self._writer is None or time() > self._written + 1:
            self.flush()
        for tag, value in values.items():
            self._tell_trackers("add_scalar", tag, value, self.step)

    def flush(self) -> None:
        """Write what waits, an event for each step: TensorBoard's thread is woken by each."""
        if self._waiting and self.writer is not None:
            from tensorboard.compat.proto.summary_pb2 import Summary

            for values, step, when in self._waiting:
                each = [Summary.Value(tag=tag, simple_value=one) for tag, one in values.items()]
                self.writer.file_writer.add_summary(Summary(value=each), step, when)
        self._waiting, self._written = [], time()

    def add_histogram(self, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        self._add("add_histogram", tag, data, *args, **kwargs)  # weights belong to no mode

    def add_embedding(self, data: Any, *args: Any, **kwargs: Any) -> None:
        if self.writer is not None:
            self.writer.add_embedding(data, *args, global_step=self.step, **kwargs)

    def add_pr_curve(
        self, tag: str, labels: Any, predictions: Any, *args: Any, **kwargs: Any
    ) -> None:
        if self.writer is not None:
            tag = self._of_mode(tag)
            self.writer.add_pr_curve(tag, labels, predictions, self.step, *args, **kwargs)

    def _of_mode(self, tag: str) -> str:
        return f"{tag}/{self.mode}"

    def _add(self, method: str, tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
        if self.writer is not None:
            getattr(self.writer, method)(tag, data, self.step, *args, **kwargs)
        self._tell_trackers(method, tag, data, self.step, *args, **kwargs)

    def _tell_trackers(self, method: str, *args: Any, **kwargs: Any) -> None:
        for tracker in [*self.trackers]:
            try:
                getattr(tracker, method)(*args, **kwargs)
            except Exception as error:  # of somebody's server, say: no reason to end a run
                self.trackers.remove(tracker)
                name, reason = type(tracker).__name__, in_one_line(error)
                self.logger.warning("%s gets no more values: %s", name, reason)

    def close(self) -> None:
        self.flush()
        if self._writer is not None:
            self._writer.close()
        self._writer = None  # a later value opens another file
        self._tell_trackers("close")


def open_writer(config: Any, logger: Logger) -> TensorboardWriter:
    """What a trainer writes with, as its config says. Of several processes the main one writes."""
    is_enabled = config.settings.trainer.tensorboard and distributed.is_main()
    return TensorboardWriter(config.save_dir, logger, is_enabled)
