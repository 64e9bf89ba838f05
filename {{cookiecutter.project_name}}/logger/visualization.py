"""TensorBoard."""

from logging import Logger
from pathlib import Path
from time import time
from typing import Any

from utils import distributed
from utils.errors import as_warning

WITHOUT_MODE = ("add_histogram", "add_embedding")  # weights have none, embeddings no tag
SECONDS = 10  # for which numbers wait: each that SummaryWriter gets wakes a thread, which is slow


def _adder(name: str) -> Any:
    """A method that calls that of SummaryWriter with the step and the mode."""

    def add(self: "TensorboardWriter", tag: Any, *args: Any, **kwargs: Any) -> None:
        self.add(name, tag if name in WITHOUT_MODE else f"{tag}/{self.mode}", *args, **kwargs)

    return add


class TensorboardWriter:
    """TensorBoard's SummaryWriter with the step and the mode ("train", "valid") set once for all.

    The event file is opened by the first value. Where `enabled` is false, or tensorboard is not
    installed, there is none. Of several processes the main one writes.
    """

    def __init__(self, log_dir: str | Path, logger: Logger, enabled: bool) -> None:
        self.log_dir, self.logger = log_dir, logger
        self.enabled = enabled and distributed.is_main()
        self.step, self.mode = 0, ""
        self._writer: Any = None
        self._waiting: list[tuple[Any, float, int, float]] = []  # (tag, number, step, time)

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
        self.step, self.mode = step, getattr(mode, "value", mode)  # of an Enum too

    add_scalar, add_scalars = _adder("add_scalar"), _adder("add_scalars")
    add_image, add_images = _adder("add_image"), _adder("add_images")
    add_figure, add_audio = _adder("add_figure"), _adder("add_audio")
    add_text, add_pr_curve = _adder("add_text"), _adder("add_pr_curve")
    add_histogram, add_embedding = _adder("add_histogram"), _adder("add_embedding")

    def add(self, name: str, tag: Any, *args: Any, **kwargs: Any) -> None:
        """What all of these call; an extra may put a function of its own in its place."""
        if not self.enabled:
            return
        with as_warning(self.logger, f"TensorBoard has no {tag!r}"):
            writer = self.writer
            if name != "add_scalar" or len(args) != 1 or kwargs:
                getattr(writer, name)(tag, *args, global_step=self.step, **kwargs)
                return
            self._waiting.append((tag, float(args[0]), self.step, time()))
            if time() - self._waiting[0][-1] > SECONDS:
                self.flush()

    def flush(self) -> None:
        """Write what waits to the disk."""
        waiting, self._waiting = self._waiting, []
        with as_warning(self.logger, "TensorBoard is not written"):
            for tag, *number in waiting:
                self.writer.add_scalar(tag, *number)
            if self._writer is not None:
                self._writer.flush()

    def close(self) -> None:
        self.flush()
        with as_warning(self.logger, "TensorBoard is not closed"):
            if self._writer is not None:
                self._writer.close()
        self._writer = None  # a later value opens another file
