from itertools import islice

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from base import BaseTrainer
from utils import MetricTracker, checkpoint, inf_loop
from utils.check import nearest
from utils.device import batch_size, to_device
from utils.errors import RunError, UserError
from utils.finite import NotFinite, check_finite
from utils.meter import name_of
from utils.schedule import learning_rates, schedulers_for


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
        self.len_epoch = len_epoch or config.settings.trainer.len_epoch or length_of(data_loader)
        self.log_step = config.settings.trainer.log_step
        self.non_finite = config.settings.trainer.non_finite
        self.train_metrics = MetricTracker(metrics=metric_ftns)
        self.valid_metrics = MetricTracker(metrics=metric_ftns)
        self.batch_idx = 0  # batches done of the epoch that runs
        self.n_skipped = 0  # steps whose loss or gradients were not finite
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
        """The metrics of a batch by name."""
        metrics = self.train_metrics if self.model.training else self.valid_metrics
        return metrics.measure(output, target)

    def batch_size(self, batch):
        """How many samples a batch has: the weight of its values in the means."""
        return batch_size(batch)

    def _train_epoch(self, epoch):
        self.model.train()
        if self.batch_idx == 0:  # else a resumed epoch goes on
            self.train_metrics.reset()
        step_schedulers = self._schedulers("step")
        for batch in self._batches(epoch):
            batch = to_device(batch, self.device)
            values = self._guarded_step(batch)
            self.train_metrics.add(values, self.batch_size(batch))
            self.batch_idx += 1
            self.step += 1
            for scheduler in step_schedulers:
                scheduler.step()
            if self.batch_idx % self.log_step == 0:
                self._log_progress(epoch)
            self._after_step()
        log = self.train_metrics.result()
        if self.do_validation:
            log |= {f"val_{key}": value for key, value in self._valid_epoch(epoch).items()}
        log |= learning_rates(self.optimizer)
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
        self.valid_metrics.reset()
        for batch in data_loader:
            self._leave_if_asked(self.epoch - 1)
            batch = to_device(batch, self.device)
            self.valid_metrics.add(self.valid_step(batch), self.batch_size(batch))
        return self.valid_metrics.result()

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

    def _schedulers(self, interval):
        return schedulers_for(interval, self.lr_scheduler, self.config.settings.lr_scheduler)

    def _state(self, epochs_done):
        return super()._state(epochs_done) | {
            "batch_idx": self.batch_idx,
            "n_skipped": self.n_skipped,
            "train_metrics": self.train_metrics.state_dict(),
        }

    def _load_state(self, state, changes):
        super()._load_state(state, changes)
        self.batch_idx = state["batch_idx"]
        self.n_skipped = state["n_skipped"]
        if state["train_metrics"] is not None and self.batch_idx > 0:
            self.train_metrics.load_state_dict(state["train_metrics"])

    def _fault_of_monitor(self):
        """Look at what validation gives; what only `train_step` gives, nobody knows yet."""
        name = self.mnt_metric.removeprefix("val_")
        is_own_epoch = type(self)._train_epoch is not Trainer._train_epoch
        if self.mnt_mode == "off" or name == self.mnt_metric or is_own_epoch:
            return None
        if not self.do_validation:
            return "there is no validation data"
        names = {"loss", *map(name_of, self.metric_ftns)}
        if name not in names:
            loader = self.valid_data_loader
            self.valid_data_loader = list(islice(loader, 1))
            names = set(self._valid_epoch(0))
            self.valid_data_loader = loader
        return None if name in names else f"validation gives no {name!r}; {nearest(name, names)}"

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


def length_of(data_loader):
    try:
        return len(data_loader)
    except TypeError:
        message = "trainer.len_epoch: a data loader without length needs it"
        raise UserError(message) from None
