from itertools import islice

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from base import BaseTrainer
from utils import MetricTracker, inf_loop
from utils.check import nearest
from utils.device import batch_size, to_device


class Trainer(BaseTrainer):
    """The training loop. What a batch means is said by `train_step` and `valid_step`."""

    def __init__(
        self,
        model,
        criterion,
        metric_ftns,
        optimizer,
        config,
        device=None,
        data_loader=None,
        valid_data_loader=None,
        lr_scheduler=None,
        len_epoch=None,
    ):
        super().__init__(model, criterion, metric_ftns, optimizer, config)
        if device is not None:
            self.device = torch.device(device)
            self.model.to(self.device)
        self.data_loader = data_loader
        self.valid_data_loader = valid_data_loader
        self.do_validation = valid_data_loader is not None
        self.lr_scheduler = lr_scheduler
        self.len_epoch = len_epoch or config.settings.trainer.len_epoch or len(data_loader)
        self.log_step = config.settings.trainer.log_step
        self.train_metrics = MetricTracker()
        self.valid_metrics = MetricTracker()
        self._stream = None  # batches of a loader that has no set_epoch

    def train_step(self, batch):
        """Learn from one batch, which is on the device. Returns the values to average and log.

        A value counts for as many samples as the batch has, or for n where it is a pair (value, n).
        """
        data, target = batch
        output = self.model(data)
        loss = self.criterion(output, target)
        self.optimize(loss)
        return {"loss": loss, **self.measure(output, target)}

    def valid_step(self, batch):
        """The same for a batch of validation or test data, without learning."""
        data, target = batch
        output = self.model(data)
        return {"loss": self.criterion(output, target), **self.measure(output, target)}

    def optimize(self, loss, optimizer=None):
        """One step of `optimizer`, or of the only one there is, to lower `loss`."""
        optimizer = optimizer or self.optimizer
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def measure(self, output, target):
        """The metrics of a batch by name. Objects with `update` and `compute` only collect here."""
        values = {}
        for metric in self.metric_ftns:
            if hasattr(metric, "compute"):
                metric.update(output, target)
            else:
                values[metric_name(metric)] = metric(output, target)
        return values

    def _train_epoch(self, epoch):
        self.model.train()
        self._reset(self.train_metrics)
        step_schedulers = self._schedulers("step")
        for batch_idx, batch in enumerate(self._batches(epoch), start=1):
            batch = to_device(batch, self.device)
            values = self.train_step(batch)
            self.step += 1
            self._add(self.train_metrics, values, batch)
            for scheduler in step_schedulers:
                scheduler.step()
            if batch_idx % self.log_step == 0:
                self._log_progress(epoch, batch_idx)
        log = self._result(self.train_metrics)
        if self.do_validation:
            log |= {f"val_{key}": value for key, value in self._valid_epoch(epoch).items()}
        log |= self._learning_rates()
        for scheduler in self._schedulers("epoch"):
            on_plateau = isinstance(scheduler, ReduceLROnPlateau)
            scheduler.step(self._monitored(log)) if on_plateau else scheduler.step()
        return log

    def _valid_epoch(self, epoch):
        return self.evaluate(self.valid_data_loader)

    @torch.no_grad()
    def evaluate(self, data_loader):
        """The means of what `valid_step` gives, over all samples of a loader."""
        self.model.eval()
        self._reset(self.valid_metrics)
        for batch in data_loader:
            batch = to_device(batch, self.device)
            self._add(self.valid_metrics, self.valid_step(batch), batch)
        return self._result(self.valid_metrics)

    def _batches(self, epoch):
        """The batches of an epoch: one pass over the loader, or len_epoch of endless passes."""
        if hasattr(self.data_loader, "set_epoch"):  # then any place in the data can be gone to
            first = (epoch - 1) * self.len_epoch
            batches = inf_loop(self.data_loader, self.config.settings.seed, first)
        else:
            batches = self._stream = self._stream or inf_loop(self.data_loader)
        return islice(batches, self.len_epoch)

    def _fault_of_monitor(self):
        """Look at what validation gives; what only `train_step` gives, nobody knows yet."""
        name = self.mnt_metric.removeprefix("val_")
        names = {"loss", *map(metric_name, self.metric_ftns)}
        if self.mnt_mode == "off" or name == self.mnt_metric:
            return None
        if not self.do_validation:
            return "there is no validation data"
        if name not in names:
            names |= set(self.evaluate(islice(self.valid_data_loader, 1)))
        return None if name in names else f"validation gives no {name!r}; {nearest(name, names)}"

    def _schedulers(self, interval):
        """The schedulers that move on with each "step" or each "epoch"."""
        settings = self.config.settings.lr_scheduler
        if isinstance(self.lr_scheduler, dict):
            return [
                scheduler
                for name, scheduler in self.lr_scheduler.items()
                if settings[name].interval == interval
            ]
        matches = getattr(settings, "interval", "epoch") == interval
        return [self.lr_scheduler] if self.lr_scheduler is not None and matches else []

    def _learning_rates(self):
        several = self.optimizer if isinstance(self.optimizer, dict) else {"": self.optimizer}
        return {
            "_".join(filter(None, ["lr", name, str(index or "")])): group["lr"]
            for name, optimizer in several.items()
            for index, group in enumerate(optimizer.param_groups)
        }

    def _log_progress(self, epoch, batch_idx):
        """Means since the last such line, on the console and in TensorBoard."""
        means = self.train_metrics.window()
        self.writer.set_step(self.step)
        for key, value in means.items():
            self.writer.add_scalar(key, value)
        words = "  ".join(f"{key} {value:.4g}" for key, value in means.items())
        self.logger.debug("epoch %3d  batch %d/%d  %s", epoch, batch_idx, self.len_epoch, words)

    def _add(self, tracker, values, batch):
        n = batch_size(batch)
        for key, value in values.items():
            tracker.update(key, value, n)

    def _reset(self, tracker):
        tracker.reset()
        for metric in self._collecting_metrics():
            metric.reset()

    def _result(self, tracker):
        collected = {metric_name(m): float(m.compute()) for m in self._collecting_metrics()}
        return tracker.result() | collected

    def _collecting_metrics(self):
        return [metric for metric in self.metric_ftns if hasattr(metric, "compute")]


def metric_name(metric):
    return getattr(metric, "__name__", type(metric).__name__)
