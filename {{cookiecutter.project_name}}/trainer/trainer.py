import copy
from itertools import islice

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from base import BaseTrainer
from utils import MetricTracker, checkpoint, inf_loop
from utils.check import nearest
from utils.device import batch_size, to_device
from utils.errors import RunError
from utils.finite import NotFinite, check_finite


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
        self.non_finite = config.settings.trainer.non_finite
        self.train_metrics = MetricTracker()
        self.valid_metrics = MetricTracker()
        self.batch_idx = 0  # batches done of the epoch that runs
        self.n_skipped = 0  # steps whose loss or gradients were not finite
        self._collected = None  # during validation: the states of collecting metrics before it
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
        """One step of `optimizer`, or of the only one there is, to lower `loss`.

        Raises NotFinite before the step where loss or gradients are not.
        """
        optimizer = optimizer or self.optimizer
        optimizer.zero_grad()
        loss.backward()
        if self.non_finite != "ignore":
            check_finite(loss, optimizer)
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
        if self.batch_idx == 0:  # else a resumed epoch goes on
            self._reset(self.train_metrics)
        step_schedulers = self._schedulers("step")
        for batch in self._batches(epoch):
            batch = to_device(batch, self.device)
            values = self._guarded_step(batch)
            self._add(self.train_metrics, values, batch)
            self.batch_idx += 1
            self.step += 1
            for scheduler in step_schedulers:
                scheduler.step()
            if self.batch_idx % self.log_step == 0:
                self._log_progress(epoch)
            self._after_step()
        log = self._result(self.train_metrics)
        if self.do_validation:
            self._collected = self._collected_states()  # validation uses the same metrics
            log |= {f"val_{key}": value for key, value in self._valid_epoch(epoch).items()}
            self._collected = None
        log |= self._learning_rates()
        for scheduler in self._schedulers("epoch"):
            on_plateau = isinstance(scheduler, ReduceLROnPlateau)
            scheduler.step(self._monitored(log)) if on_plateau else scheduler.step()
        self.batch_idx = 0
        return log

    def _guarded_step(self, batch):
        """`train_step`; what is done where it is not finite, `trainer.non_finite` says."""
        random_state = torch.get_rng_state()
        try:
            return self.train_step(batch)
        except NotFinite as error:
            self.n_skipped += 1
            limit = self.config.settings.trainer.max_skipped
            if self.non_finite == "skip" and self.n_skipped <= limit:
                self.logger.warning(
                    "step %d skipped, number %d: %s", self.step, self.n_skipped, error
                )
                return {}
            path = self.checkpoint_dir / f"black_box_step{self.step}.pt"
            before = {"torch_random": random_state, "batch": to_device(batch, "cpu")}
            checkpoint.save(self._state(self.epoch - 1) | before, path)
            repeat = f"python train.py --replay {path}"
            raise RunError(f"{error}; the step was not taken. To repeat it: {repeat}") from None

    def _valid_epoch(self, epoch):
        return self.evaluate(self.valid_data_loader)

    @torch.no_grad()
    def evaluate(self, data_loader):
        """The means of what `valid_step` gives, over all samples of a loader."""
        self.model.eval()
        self._reset(self.valid_metrics)
        for batch in data_loader:
            self._leave_if_asked(self.epoch - 1)
            batch = to_device(batch, self.device)
            self._add(self.valid_metrics, self.valid_step(batch), batch)
        return self._result(self.valid_metrics)

    def _batches(self, epoch):
        """The batches of an epoch that are not done yet.

        An epoch is one pass over the loader, or len_epoch batches of endless passes.
        """
        if hasattr(self.data_loader, "set_epoch"):  # then any place in the data can be gone to
            first = (epoch - 1) * self.len_epoch + self.batch_idx
            batches = inf_loop(self.data_loader, self.config.settings.seed, first)
        else:
            batches = self._stream = self._stream or inf_loop(self.data_loader)
        return islice(batches, self.len_epoch - self.batch_idx)

    def _state(self, epochs_done):
        return super()._state(epochs_done) | {
            "batch_idx": self.batch_idx,
            "n_skipped": self.n_skipped,
            "train_metrics": self.train_metrics.state_dict(),
            "collected": self._collected or self._collected_states(),
        }

    def _collected_states(self):
        """What collecting metrics have of this epoch, those that have a state_dict."""
        collecting = self._collecting_metrics()
        return copy.deepcopy([m.state_dict() for m in collecting if hasattr(m, "state_dict")])

    def _load_state(self, state, changes):
        super()._load_state(state, changes)
        self.batch_idx = state["batch_idx"]
        self.n_skipped = state["n_skipped"]
        if state["train_metrics"] is not None:
            self.train_metrics.load_state_dict(state["train_metrics"])
        stateful = [m for m in self._collecting_metrics() if hasattr(m, "state_dict")]
        for metric, collected in zip(stateful, state["collected"], strict=False):
            metric.load_state_dict(collected)

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

    def _log_progress(self, epoch):
        """Means since the last such line, on the console and in TensorBoard."""
        means = self.train_metrics.window()
        self.writer.set_step(self.step)
        for key, value in means.items():
            self.writer.add_scalar(key, value)
        words = "  ".join(f"{key} {value:.4g}" for key, value in means.items())
        self.logger.debug(
            "epoch %3d  batch %d/%d  %s", epoch, self.batch_idx, self.len_epoch, words
        )

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
