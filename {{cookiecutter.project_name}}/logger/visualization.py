from importlib.util import find_spec
from time import time

from utils import distributed
from utils.optional import need_tool


class TensorboardWriter:
    """TensorBoard's SummaryWriter with the step and the mode ("train", "valid") set once for all.

    The event file is opened by the first value. Where `enabled` is false, or tensorboard is not
    installed, there is none. `trackers` have the same methods and get the same values.
    """

    def __init__(self, log_dir, logger, enabled, trackers=()):
        self.log_dir = log_dir
        self.enabled = enabled
        self.trackers = trackers
        self.step = 0
        self.mode = ""
        self._writer = None
        self._waiting = []  # values, with their step and time
        self._written = 0.0  # the time when others were
        if enabled and find_spec("tensorboard") is None:
            logger.warning("tensorboard is not installed: no event files (pip install tensorboard)")
            self.enabled = False

    @property
    def writer(self):
        """The SummaryWriter itself; None where nothing is written."""
        if self._writer is None and self.enabled:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            # What an earlier process has written of this step and after is not shown any more
            self._writer = SummaryWriter(str(self.log_dir), purge_step=self.step or None)
        return self._writer

    def set_step(self, step, mode="train"):
        self.step = step
        self.mode = getattr(mode, "value", mode)  # of an Enum too

    def add_scalar(self, tag, data, *args, **kwargs):
        self._add("add_scalar", self._of_mode(tag), data, *args, **kwargs)

    def add_values(self, values):
        """Scalars of one step by tag. Those of a second are written together, or with `flush`."""
        values = {self._of_mode(tag): value for tag, value in values.items()}
        self._waiting.append((values, self.step, time()))
        if self._writer is None or time() > self._written + 1:
            self.flush()
        for tracker in self.trackers:
            for tag, value in values.items():
                tracker.add_scalar(tag, value, self.step)

    def flush(self):
        """Write what waits, an event for each step: TensorBoard's thread is woken by each."""
        if self._waiting and self.writer is not None:
            from tensorboard.compat.proto.summary_pb2 import Summary

            for values, step, when in self._waiting:
                each = [Summary.Value(tag=tag, simple_value=one) for tag, one in values.items()]
                self.writer.file_writer.add_summary(Summary(value=each), step, when)
        self._waiting, self._written = [], time()

    def add_scalars(self, tag, data, *args, **kwargs):
        self._add("add_scalars", self._of_mode(tag), data, *args, **kwargs)

    def add_image(self, tag, data, *args, **kwargs):
        self._add("add_image", self._of_mode(tag), data, *args, **kwargs)

    def add_images(self, tag, data, *args, **kwargs):
        self._add("add_images", self._of_mode(tag), data, *args, **kwargs)

    def add_figure(self, tag, data, *args, **kwargs):
        self._add("add_figure", self._of_mode(tag), data, *args, **kwargs)

    def add_audio(self, tag, data, *args, **kwargs):
        self._add("add_audio", self._of_mode(tag), data, *args, **kwargs)

    def add_text(self, tag, data, *args, **kwargs):
        self._add("add_text", self._of_mode(tag), data, *args, **kwargs)

    def add_histogram(self, tag, data, *args, **kwargs):
        self._add("add_histogram", tag, data, *args, **kwargs)  # weights belong to no mode

    def add_embedding(self, data, *args, **kwargs):
        if self.writer is not None:
            self.writer.add_embedding(data, *args, global_step=self.step, **kwargs)

    def add_pr_curve(self, tag, labels, predictions, *args, **kwargs):
        if self.writer is not None:
            tag = self._of_mode(tag)
            self.writer.add_pr_curve(tag, labels, predictions, self.step, *args, **kwargs)

    def _of_mode(self, tag):
        return f"{tag}/{self.mode}"

    def _add(self, method, tag, data, *args, **kwargs):
        for one in [self.writer] * self.enabled + [*self.trackers]:
            getattr(one, method)(tag, data, self.step, *args, **kwargs)

    def close(self):
        self.flush()
        for one in [self._writer, *self.trackers]:
            if one is not None:
                one.close()
        self._writer = None  # a later value opens another file


def open_writer(config, logger):
    """What a trainer writes with: to TensorBoard, and to the trackers that the config names."""
    settings, trackers = config.settings.trainer, []
    if settings.trackers and distributed.is_main():
        known = need_tool("trackers", "trainer.trackers").TRACKERS
        trackers = [known[name](config) for name in settings.trackers]
    is_enabled = settings.tensorboard and distributed.is_main()
    return TensorboardWriter(config.save_dir, logger, is_enabled, trackers)
