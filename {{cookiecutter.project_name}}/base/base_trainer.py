"""The base of all trainers: everything around an epoch.

Read `train` first, then what it calls. Change it for what is to happen between epochs. What happens
to a batch is in trainer/trainer.py; how a run starts, saves and ends, in utils/run.py.
"""

from abc import ABC, abstractmethod
from math import inf
from pathlib import Path
from typing import Any

from torch import nn

from logger import TensorboardWriter, log_epoch
from parse_config import ConfigParser
from settings import SaveEvery
from utils import checkpoint, distributed, run
from utils.command_line import StopSignals
from utils.device import get_device
from utils.errors import UserError
from utils.meter import plain_numbers
from utils.run_dir import BEST_NAME, EPOCH_NAME, LAST_NAME


class BaseTrainer(ABC):
    """Base of all trainers: epochs, the best model, early stopping, checkpoints and logs.

    `optimizer` and `criterion` are single ones or dicts by name. `self.state["x"] = thing` adds a
    thing with `state_dict` and `load_state_dict` to the checkpoints; `lr_scheduler` is in them.
    """

    def __init__(
        self, model: nn.Module, criterion: Any, metric_ftns: list, optimizer: Any, config: Any
    ) -> None:
        settings = config.settings.trainer
        self.config: ConfigParser = config
        self.logger = config.get_logger("trainer", settings.verbosity)
        self.device = get_device(config.settings.device)
        self.model: Any = model.to(self.device)
        self.criterion, self.metric_ftns = criterion, metric_ftns
        self.optimizer = optimizer
        self.lr_scheduler: Any = None
        self.state: dict[str, Any] = {}  # more to keep in the checkpoints, by name
        self.rank_state: dict[str, Any] = {}  # the same, for what differs between processes

        self.epochs, self.save_period = settings.epochs, settings.save_period
        self.monitor = settings.monitor
        self.mnt_mode, _, self.mnt_metric = self.monitor.partition(" ")
        self.mnt_best = -inf if self.mnt_mode == "max" else inf
        self.early_stop = inf if self.mnt_mode == "off" else settings.early_stop or inf
        self.not_improved_count = 0  # epochs since the best one
        self.start_epoch = 1  # with which `train` begins, or goes on when it is called again
        self.epoch = 0  # the one that runs
        self.step = 0  # optimizer steps so far
        self.batch_idx = 0  # batches done of the epoch that runs
        self.epoch_is_pass = settings.len_epoch is None  # over the data

        self.outcome = ""  # how the last call of `train` ended
        self.checkpoint_dir = config.save_dir
        self.writer = TensorboardWriter(config.save_dir, self.logger, settings.tensorboard)
        self.callbacks = config.callbacks
        self.saver: Any = checkpoint  # `save` and `wait`
        self.stop_signals = StopSignals()
        self.asks_each_step = settings.save_every != SaveEvery() or distributed.world_size() > 1

    @abstractmethod
    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        """Train for one epoch, the first being 1; return a dict of the values to log."""

    def train(self) -> dict[str, Any]:
        """Train to the last epoch or until early stopping; return the log of the last epoch."""
        run.prepare(self)
        log: dict[str, Any] = {}
        with self.stop_signals, run.ending_well(self):
            for epoch in range(self.start_epoch, self.epochs + 1):
                if self.not_improved_count >= self.early_stop:
                    self.outcome = "stopped early"
                    self.logger.info("No better %s for %d epochs", self.mnt_metric, self.early_stop)
                    break
                self.epoch = epoch
                run.begin_pass(self, epoch)
                log = {"epoch": epoch, **plain_numbers(self._train_epoch(epoch))}
                log = distributed.broadcast(log)  # so are the decisions that follow
                is_best = self.mnt_mode != "off" and self._is_best(log)
                self.not_improved_count = 0 if is_best else self.not_improved_count + 1
                self.mnt_best = self._monitored(log) if is_best else self.mnt_best
                log_epoch(self, log, is_best)
                if is_best or self._is_save_due(epoch):
                    self._save_checkpoint(epoch, save_best=is_best)
                for callback in self.callbacks:
                    callback.on_epoch_end(self, log)
                self.start_epoch = epoch + 1
                run.stop_if_asked(self, epoch)
            else:
                self.outcome = "finished"
        return log

    def _monitored(self, log: dict[str, Any]) -> float:
        """The monitored value in the log of an epoch; UserError where there is none."""
        if self.mnt_metric not in log:
            self._save(self.epoch - (self.batch_idx > 0), [LAST_NAME])  # the epoch is not lost
            raise UserError(f"trainer.monitor = {self.monitor!r}: an epoch gives {', '.join(log)}")
        return float(log[self.mnt_metric])

    def _is_best(self, log: dict[str, Any]) -> bool:
        """Whether the monitored value is better than ever."""
        value = self._monitored(log)
        return value < self.mnt_best if self.mnt_mode == "min" else value > self.mnt_best

    def _save_checkpoint(self, epoch: int, save_best: bool = False) -> None:
        """Write last.pth, the periodic checkpoint if one is due, model_best.pth if this is it."""
        names = [BEST_NAME] * save_best + [EPOCH_NAME.format(epoch)] * self._is_save_due(epoch)
        self._save(epoch, [*names, LAST_NAME])

    def _is_save_due(self, epoch: int) -> bool:
        is_last = epoch == self.epochs or self.not_improved_count >= self.early_stop
        return is_last or epoch % self.save_period == 0

    _save = run.save
    _save_or_stop_if_due = run.save_or_stop_if_due

    def _resume_checkpoint(self, path: Path) -> None:
        """Put everything back to where it was when the checkpoint was written."""
        from utils import resume  # which a new run does without

        resume.go_on(self, path)
