from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from importlib import import_module
from math import inf
from signal import Signals
from time import monotonic

from logger import EpochLog, open_writer
from utils import checkpoint, distributed
from utils.checkpoint import BEST_NAME, EPOCH_NAME, LAST_NAME
from utils.device import get_device
from utils.errors import RunError, UserError
from utils.seed import get_random_state, set_random_state
from utils.signals import StopSignals


class BaseTrainer(ABC):
    """Base of all trainers: epochs, the best model, early stopping, checkpoints and logs.

    A subclass says what an epoch is. `optimizer` is one optimizer or a dict of them by name; so is
    `criterion`. A subclass that sets `self.lr_scheduler` has it kept in the checkpoints.
    """

    def __init__(self, model, criterion, metric_ftns, optimizer, config):
        settings = config.settings.trainer
        self.config = config
        self.logger = config.get_logger("trainer", settings.verbosity)
        self.device = get_device(config.settings.device)
        self.model = model.to(self.device)
        self.criterion = criterion
        self.metric_ftns = metric_ftns
        self.optimizer = optimizer
        self.lr_scheduler = None

        self.epochs = settings.epochs
        self.save_period = settings.save_period
        self.save_every = settings.save_every
        self.monitor = settings.monitor
        self.mnt_mode, _, self.mnt_metric = self.monitor.partition(" ")
        self.mnt_best = -inf if self.mnt_mode == "max" else inf
        self.early_stop = settings.early_stop or inf
        self.not_improved_count = 0  # epochs since the best one
        self.start_epoch = 1
        self.epoch = 0  # the one that runs
        self._epochs_done = 0  # from start_epoch on: a second call of `train` goes on
        self.step = 0  # optimizer steps so far

        self.checkpoint_dir = config.save_dir
        self.writer = open_writer(config, self.logger)
        self.epoch_log = EpochLog(config.save_dir, self.logger, self.writer)
        tools = import_module("tools")  # late, as each file in it can be deleted
        self.watchers = tools.watchers(tools.OF_EVERY_TRAINER)
        self.progress = tools.new_progress()
        several = optimizer.values() if isinstance(optimizer, dict) else [optimizer]
        several = [one for one in several if one is not None]
        self.saver = distributed.sharded_saver(model) or tools.new_saver(several)
        self.saver = self.saver or checkpoint.Saver()
        self.stop_signals = StopSignals()
        self.votes = distributed.Votes()
        self._saved_at, self._saved_step = monotonic(), 0

    @abstractmethod
    def _train_epoch(self, epoch):
        """Train for one epoch, the first being 1; return a dict of the values to log."""

    def train(self):
        """Train to the last epoch or until early stopping; return the log of the last epoch."""
        self._prepare()
        log = {}
        with self.stop_signals, self._ending_well():
            for epoch in range(self.start_epoch + self._epochs_done, self.epochs + 1):
                if self.not_improved_count >= self.early_stop:
                    self._end = "stopped early"
                    line = "No better %s for %d epochs; trainer.early_stop sets how many"
                    self.logger.info(line, self.mnt_metric, self.early_stop)
                    break
                self.epoch = epoch
                if hasattr(getattr(self, "data_loader", None), "set_epoch"):
                    self.data_loader.set_epoch(self.config.settings.seed, epoch - 1)
                log = {"epoch": epoch, **plain_numbers(self._train_epoch(epoch))}
                log = distributed.agree(lambda log=log: log)  # so are the decisions that follow
                is_best = self._is_best(log)
                self.epoch_log.add(log, self.step, is_best)
                if is_best or self._is_save_due(epoch):
                    self._save_checkpoint(epoch, save_best=is_best)
                for watcher in self.watchers:
                    watcher(self, log)
                self._epochs_done += 1
                self._leave_if_asked(epoch, *self.votes.cast(self.stop_signals.received, wait=True))
            else:
                self._end = "finished"
        return log

    def _prepare(self):
        """Take up a checkpoint, let the watchers find mistakes, begin the logs."""
        try:
            self.model = distributed.wrap(self.model, self.device, self.config.settings.parallel)
            if self.config.resume is not None and self._epochs_done == 0:
                self._resume_checkpoint(self.config.resume)
            for watcher in self.watchers:
                watcher.begin(self)
        except Exception:
            self.config.discard_run()
            raise
        self.config.start_run()
        model = distributed.unwrap(self.model)
        self.logger.info("%s\nRun directory: %s", model, self.checkpoint_dir)
        done = self.start_epoch + self._epochs_done - 1
        self.epoch_log.start(done + 1)
        if done >= self.epochs:
            self.logger.info("All %d epochs are done; set trainer.epochs for more.", done)

    @contextmanager
    def _ending_well(self):
        """However training ends, the last checkpoint is complete, and trouble is explained."""
        self._end = "interrupted"
        try:
            yield
            self.saver.wait()
        except Exception as error:
            error, reason = import_module("tools").explained(error)
            if isinstance(error, UserError):
                reason = str(error)
            with suppress(RunError):
                self.saver.wait()
            if not self.stop_signals.received:
                self._end = f"failed: {reason or repr(error)}"
            what = f"epoch {self.epoch}, step {self.step}: {reason or 'an error'}"
            extra = {"is_shown": not distributed.speaks(what)}
            self.logger.error("%s. %s", what, self._how_to_go_on(), extra=extra)
            if reason is None:
                raise  # the code's own: its traceback says more
            raise RunError(reason, getattr(error, "status", 1), is_shown=True) from error
        finally:
            for watcher in reversed(self.watchers):
                watcher.end(self, self._end)
            self.writer.close()

    def _how_to_go_on(self):
        last = self.checkpoint_dir / LAST_NAME
        return f"Go on with: python train.py -r {last}" if last.exists() else "No checkpoint yet."

    def _monitored(self, log):
        """The monitored value in the log of an epoch."""
        if self.mnt_metric not in log:
            found = ", ".join(key for key in log if key != "epoch")
            raise UserError(
                f"trainer.monitor = {self.monitor!r}: an epoch has no such value, but {found}"
            )
        return float(log[self.mnt_metric])

    def _is_best(self, log):
        """Whether the monitored value is better than ever; counts the epochs since it was."""
        if self.mnt_mode == "off":
            return False
        value = self._monitored(log)
        if value != value:
            self.logger.warning("%s is not a number, so no epoch to keep", self.mnt_metric)
        is_best = value < self.mnt_best if self.mnt_mode == "min" else value > self.mnt_best
        self.mnt_best = value if is_best else self.mnt_best
        self.not_improved_count = 0 if is_best else self.not_improved_count + 1
        return is_best

    def _save_checkpoint(self, epoch, save_best=False):
        """Write the periodic checkpoint if one is due, and model_best.pth if this is the best."""
        names = [BEST_NAME] * save_best
        if self._is_save_due(epoch):
            names += [EPOCH_NAME.format(epoch), LAST_NAME]
        self._save(epoch, names)

    def _is_save_due(self, epoch):
        is_last = epoch == self.epochs or self.not_improved_count >= self.early_stop
        return is_last or epoch % self.save_period == 0

    def _save(self, epochs_done, names):
        """Begin to write the present state under all `names`; training goes on meanwhile."""
        keep_last = self.config.settings.trainer.keep_last
        self.writer.flush()
        state = self._state(epochs_done)
        if distributed.is_main() or distributed.is_sharded(self.model):
            self.saver.save(
                state,
                *(self.checkpoint_dir / name for name in names),
                then=lambda: checkpoint.remove_old(self.checkpoint_dir, keep_last),
            )
        self._saved_at, self._saved_step = monotonic(), self.step

    def _after_step(self):
        """Save if that is due, leave if a signal asks: called after a step, counted in `step`."""
        every = self.save_every
        is_due = every.steps is not None and self.step % every.steps == 0
        late_at = 0
        if every.minutes is not None and distributed.is_main():
            late_at = self.step * (monotonic() - self._saved_at >= 60 * every.minutes)
        signal, late_at = self.votes.cast(self.stop_signals.received, late_at)
        if is_due or late_at > self._saved_step:  # else it was saved since
            self._save(self.epoch - 1, [LAST_NAME])
        self._leave_if_asked(self.epoch - 1, signal)

    def _leave_if_asked(self, epochs_done, signal):
        if signal:
            self._save(epochs_done, [LAST_NAME])
            distributed.agree(self.saver.wait)  # no process leaves before it is complete
            name = Signals(signal).name
            raise RunError(f"stopped by {name}", status=128 + signal)

    def _state(self, epochs_done):
        """All that a resumed run needs, as tensors and plain types; the same in all processes."""
        model = distributed.unwrap(self.model)
        ranks = distributed.gather(self._rank_state())
        return {
            "arch": type(model).__name__.removeprefix("FSDP"),
            "epoch": epochs_done,
            "step": self.step,
            "state_dict": model.state_dict(),
            "optimizer": checkpoint.get_state(self.optimizer),
            "lr_scheduler": checkpoint.get_state(self.lr_scheduler),
            "monitor_best": self.mnt_best,
            "not_improved_count": self.not_improved_count,
            **ranks[0],
            "ranks": ranks[1:],
            "config": self.config.config,
        }

    def _rank_state(self):
        """What is different in each of several processes."""
        return {"random": get_random_state()}

    def _resume_checkpoint(self, path):
        """Put everything back to where it was when the checkpoint was written."""
        state = checkpoint.load(path, self.model, self.optimizer)
        for watcher in self.watchers:
            watcher.resume(self, state)
        self._load_state(state)
        self.logger.info("Resuming after epoch %d, step %d of %s", state["epoch"], self.step, path)

    def _load_state(self, state):
        """The counterpart of `_state`."""
        checkpoint.set_weights(
            distributed.unwrap(self.model), state["state_dict"], self.config.resume
        )
        checkpoint.set_state(self.optimizer, state["optimizer"])
        checkpoint.set_state(self.lr_scheduler, state["lr_scheduler"])
        self.start_epoch = state["epoch"] + 1
        self.step = state["step"]
        if state["monitor_best"] is not None:
            self.mnt_best = float(state["monitor_best"])
            self.not_improved_count = state["not_improved_count"]
        ranks = [state, *state["ranks"]]
        if distributed.rank() < len(ranks) and state["random"] is not None:
            set_random_state(ranks[distributed.rank()]["random"])


def plain_numbers(log):
    """The log of an epoch with one-element tensors and NumPy numbers as floats."""
    return {key: float(one) if hasattr(one, "item") else one for key, one in log.items()}
