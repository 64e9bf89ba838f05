import logging
import sys
from datetime import timedelta
from importlib.util import find_spec
from time import monotonic

from utils import distributed

LINES = 10  # in an epoch at most


class Progress:
    """How far training is: on a terminal a bar for each epoch, elsewhere a line now and then.

    train.log gets the lines in either case. What is shown is read from the trainer.
    """

    def __init__(self):
        self._bar = None
        self._began = None  # when this process began to train, and the batches done before
        self._shown = (0.0, 0)  # when values were shown last, and the samples done by then
        self._lines = 0

    def training(self, trainer, batches):
        """The batches of an epoch, as they are; a bar shows how many are done."""
        self._began = self._began or (monotonic(), batches_done(trainer))
        self._shown = (monotonic(), samples_done(trainer))
        self._lines = trainer.batch_idx * LINES // trainer.len_epoch
        what = f"epoch {trainer.epoch}/{trainer.epochs}"
        return self._with_bar(trainer, batches, what, trainer.len_epoch, initial=trainer.batch_idx)

    def evaluation(self, trainer, batches):
        return self._with_bar(trainer, batches, "evaluation", delay=0.5)

    def show(self, trainer, values):
        """The values of the last batches, with the speed and the time that is left."""
        lines = trainer.batch_idx * LINES // trainer.len_epoch
        if self._bar is None and lines == self._lines:
            return
        words = "  ".join(f"{key} {value:.4g}" for key, value in values.items())
        speed, left = self._speed_and_time_left(trainer)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{left}, {words}, {speed}", refresh=False)
        if lines > self._lines:
            self._lines = lines
            place = f"batch {trainer.batch_idx}/{trainer.len_epoch}"
            text = f"epoch {trainer.epoch:3}  {place}  {words}  {speed}  {left}"
            trainer.logger.debug("%s", text, extra={"is_shown": self._bar is not None})

    def _with_bar(self, trainer, batches, what, total=None, **options):
        is_wanted = trainer.logger.isEnabledFor(logging.DEBUG) and distributed.is_main()
        if is_wanted and sys.stdout.isatty() and find_spec("tqdm") is not None:
            return self._through(batches, what, total, options)
        return batches

    def _through(self, batches, what, total, options):
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread beside the training
        options |= {"bar_format": "{desc} {bar:20} {n_fmt}/{total_fmt}{postfix}", "miniters": 1}
        options |= {"dynamic_ncols": True, "leave": False, "file": sys.stdout}
        try:
            with tqdm(batches, what, total, **options) as self._bar:
                yield from self._bar
        finally:
            self._bar = None

    def _speed_and_time_left(self, trainer):
        """Since the last values; for all epochs that remain, each as long as those so far."""
        now, samples = monotonic(), samples_done(trainer)
        speed = (samples - self._shown[1]) / max(now - self._shown[0], 1e-9)
        self._shown = (now, samples)
        start, before = self._began
        done = batches_done(trainer)
        batches_left = trainer.epochs * trainer.len_epoch - done
        seconds = (now - start) / max(done - before, 1) * batches_left
        return f"{speed:,.0f} samples/s", f"{timedelta(seconds=round(seconds))} left"


def batches_done(trainer):
    """In the whole run."""
    return max(trainer.epoch - 1, 0) * trainer.len_epoch + trainer.batch_idx


def samples_done(trainer):
    """Of all processes, since a moment that is the same within an epoch."""
    if hasattr(trainer.data_loader, "set_epoch"):
        return trainer.stream.samples
    batch_size = getattr(trainer.data_loader, "batch_size", None) or 0
    if isinstance(trainer.data_loader, list):
        batch_size = trainer.batch_size(trainer.data_loader[0])
    return trainer.batch_idx * batch_size * distributed.size()
