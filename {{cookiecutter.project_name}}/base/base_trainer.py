from abc import ABC, abstractmethod
from math import inf

from logger import MetricsCsv, TensorboardWriter
from utils import checkpoint
from utils.device import get_device
from utils.errors import UserError
from utils.resume import apply_changes, config_changes, describe_changes
from utils.seed import get_random_state, set_random_state


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
        self.monitor = settings.monitor
        self.mnt_mode, _, self.mnt_metric = self.monitor.partition(" ")
        self.mnt_best = -inf if self.mnt_mode == "max" else inf
        self.early_stop = settings.early_stop or inf
        self.not_improved_count = 0  # epochs since the best one
        self.start_epoch = 1
        self.step = 0  # optimizer steps so far

        self.checkpoint_dir = config.save_dir
        self.writer = TensorboardWriter(config.log_dir, self.logger, settings.tensorboard)
        self.metrics_csv = MetricsCsv(config.save_dir / "metrics.csv")

    @abstractmethod
    def _train_epoch(self, epoch):
        """Train for one epoch, the first being 1; return a dict of the values to log."""

    def train(self):
        """Train to the last epoch or until early stopping; return the log of the last epoch."""
        try:
            if fault := self._fault_of_monitor():
                raise UserError(f"trainer.monitor = {self.monitor!r}: {fault}")
            if self.config.resume is not None:
                self._resume_checkpoint(self.config.resume)
        except UserError:
            self.config.discard_run()
            raise
        self.config.start_run(self.device)
        self.metrics_csv.keep_until(self.start_epoch)
        self.logger.info("%s\nRun directory: %s", self.model, self.checkpoint_dir)
        self.logger.info("Values in epoch lines: training / validation")
        log = {}
        if self.start_epoch > self.epochs:
            self.logger.info("All %d epochs are done; set trainer.epochs for more.", self.epochs)
        for epoch in range(self.start_epoch, self.epochs + 1):
            if self.not_improved_count >= self.early_stop:
                self.logger.info("No better %s for %d epochs", self.mnt_metric, self.early_stop)
                break
            log = {"epoch": epoch, **self._train_epoch(epoch)}
            is_best = self._is_best(log)
            self._log_epoch(log, is_best)
            self._save_checkpoint(epoch, save_best=is_best)
        self.writer.close()
        return log

    def _fault_of_monitor(self):
        """Why no epoch will give the monitored value; None where it may."""
        return None

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
        is_best = value < self.mnt_best if self.mnt_mode == "min" else value > self.mnt_best
        self.mnt_best = value if is_best else self.mnt_best
        self.not_improved_count = 0 if is_best else self.not_improved_count + 1
        return is_best

    def _log_epoch(self, log, is_best):
        """One line on the console, one row in metrics.csv, one point on each TensorBoard curve."""
        self.metrics_csv.add(log)
        values = {key: value for key, value in log.items() if key != "epoch"}
        for key, value in values.items():
            self.writer.set_step(self.step, "valid" if key.startswith("val_") else "train_epoch")
            self.writer.add_scalar(key.removeprefix("val_"), value)
        words = []
        for name in dict.fromkeys(key.removeprefix("val_") for key in values):
            pair = [f"{values[key]:<8.4g}" for key in (name, f"val_{name}") if key in values]
            words.append(f"{name} {'/ '.join(pair)}")
        self.logger.info("epoch %3d  %s%s", log["epoch"], " ".join(words), " * best" * is_best)

    def _save_checkpoint(self, epoch, save_best=False):
        """Write the periodic checkpoint if one is due, and model_best.pth if this is the best."""
        last = epoch == self.epochs or self.not_improved_count >= self.early_stop
        due = last or epoch % self.save_period == 0
        names = [checkpoint.EPOCH_NAME.format(epoch)] * due + [checkpoint.BEST_NAME] * save_best
        state = self._state(epoch) if names else None
        for name in names:
            checkpoint.save(state, self.checkpoint_dir / name)
        checkpoint.remove_old(self.checkpoint_dir, self.config.settings.trainer.keep_last)

    def _state(self, epoch):
        """All that a resumed run needs, as tensors and plain types."""
        return {
            "arch": type(self.model).__name__,
            "epoch": epoch,
            "step": self.step,
            "state_dict": self.model.state_dict(),
            "optimizer": checkpoint.get_state(self.optimizer),
            "lr_scheduler": checkpoint.get_state(self.lr_scheduler),
            "monitor_best": self.mnt_best,
            "not_improved_count": self.not_improved_count,
            "random": get_random_state(),
            "config": self.config.config,
        }

    def _resume_checkpoint(self, path):
        """Put everything back to where it was when the checkpoint was written."""
        state = checkpoint.load(path)
        changes = config_changes(state["config"], self.config.config)
        for line in describe_changes(changes):
            self.logger.warning("resume: %s", line)
        checkpoint.set_weights(self.model, state["state_dict"], path)
        checkpoint.set_state(self.optimizer, state["optimizer"])
        if not any(key[0] == "lr_scheduler" and key[-1] != "args" for key in changes):
            checkpoint.set_state(self.lr_scheduler, state["lr_scheduler"])
        apply_changes(changes, self.optimizer, self.lr_scheduler)
        self.start_epoch = state["epoch"] + 1
        self.step = state["step"]
        if ("trainer", "monitor") not in changes:
            self.mnt_best = state["monitor_best"]
            self.not_improved_count = state["not_improved_count"]
        set_random_state(state["random"])
        self.logger.info("Resuming after epoch %d of %s", state["epoch"], path)
