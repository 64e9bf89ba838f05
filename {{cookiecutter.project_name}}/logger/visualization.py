from importlib.util import find_spec


class TensorboardWriter:
    """TensorBoard's SummaryWriter with the step and the mode ("train", "valid") set once for all.

    The event file is opened by the first value. Where `enabled` is false, or tensorboard is not
    installed, values are dropped.
    """

    def __init__(self, log_dir, logger, enabled):
        self.log_dir = log_dir
        self.enabled = enabled
        self.step = 0
        self.mode = ""
        self._writer = None
        if enabled and find_spec("tensorboard") is None:
            logger.warning("tensorboard is not installed: no event files (pip install tensorboard)")
            self.enabled = False

    @property
    def writer(self):
        """The SummaryWriter itself; None where nothing is written."""
        if self._writer is None and self.enabled:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self._writer = SummaryWriter(str(self.log_dir))
        return self._writer

    def set_step(self, step, mode="train"):
        self.step = step
        self.mode = getattr(mode, "value", mode)  # of an Enum too

    def add_scalar(self, tag, data, *args, **kwargs):
        self._add("add_scalar", tag, data, *args, **kwargs)

    def add_scalars(self, tag, data, *args, **kwargs):
        self._add("add_scalars", tag, data, *args, **kwargs)

    def add_image(self, tag, data, *args, **kwargs):
        self._add("add_image", tag, data, *args, **kwargs)

    def add_images(self, tag, data, *args, **kwargs):
        self._add("add_images", tag, data, *args, **kwargs)

    def add_figure(self, tag, data, *args, **kwargs):
        self._add("add_figure", tag, data, *args, **kwargs)

    def add_audio(self, tag, data, *args, **kwargs):
        self._add("add_audio", tag, data, *args, **kwargs)

    def add_text(self, tag, data, *args, **kwargs):
        self._add("add_text", tag, data, *args, **kwargs)

    def add_histogram(self, tag, data, *args, **kwargs):
        if self.writer is not None:  # weights belong to no mode
            self.writer.add_histogram(tag, data, self.step, *args, **kwargs)

    def add_embedding(self, data, *args, **kwargs):
        if self.writer is not None:
            self.writer.add_embedding(data, *args, global_step=self.step, **kwargs)

    def add_pr_curve(self, tag, labels, predictions, *args, **kwargs):
        if self.writer is not None:
            tag = f"{tag}/{self.mode}"
            self.writer.add_pr_curve(tag, labels, predictions, self.step, *args, **kwargs)

    def _add(self, method, tag, data, *args, **kwargs):
        if self.writer is not None:
            getattr(self.writer, method)(f"{tag}/{self.mode}", data, self.step, *args, **kwargs)

    def close(self):
        if self._writer is not None:
            self._writer.close()
