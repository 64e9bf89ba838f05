"""The training loop.

Read `_train_epoch` first: it shows what happens to a batch, in that order. Then `train_step` and
`optimize`, which it calls, and `evaluate`. Override `train_step` and `valid_step`, or edit them.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from math import isfinite
from operator import length_hint
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils._pytree import tree_map_only

from base import BaseTrainer
from base.base_data_loader import to_device
from logger import Progress
from parse_config import ConfigParser
from utils import NO_BATCH, MetricTracker, distributed, inf_loop
from utils.device import autocast, averaged_model, prepare_model
from utils.errors import RunError, UserError
from utils.optim import by_name, learning_rates, schedulers_for
from utils.seed import preserved_random_state


class Trainer(BaseTrainer):
    """The training loop. What a batch means is said by `train_step` and `valid_step`."""

    def __init__(
        self,
        model: nn.Module,
        criterion: Any,
        metric_ftns: list,
        optimizer: Any,
        config: ConfigParser,
        device: Any = None,
        data_loader: Any = None,
        valid_data_loader: Any = None,
        lr_scheduler: Any = None,
        len_epoch: int | None = None,
    ) -> None:
        super().__init__(model, criterion, metric_ftns, optimizer, config)
        settings = config.settings.trainer
        self.device = torch.device(device or self.device)
        self.model.to(self.device)
        prepare_model(self.model, settings)
        self.autocast = autocast(settings.precision, self.device)
        self.no_autocast = autocast(settings.precision, self.device, enabled=False)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.checks_each_step = self.device.type == "cpu" and distributed.world_size() == 1
        self.loss_sum = torch.zeros((), device=self.device)  # where none is looked at by itself
        self.data_loader, self.valid_data_loader = data_loader, valid_data_loader
        self.do_validation, self.lr_scheduler = valid_data_loader is not None, lr_scheduler
        self.epoch_is_pass = (len_epoch or settings.len_epoch) is None  # over the data
        self.len_epoch = len_epoch or settings.len_epoch or length_hint(data_loader)  # 0: unknown
        if self.len_epoch == 0 and not hasattr(data_loader, "state_dict"):
            raise UserError("trainer.len_epoch: a data loader without length needs it")
        self.accumulate_steps, self.log_step = settings.accumulate_steps, settings.log_step
        self.clip_grad_norm, self.progress = settings.clip_grad_norm or None, Progress()
        self.valid_metrics = MetricTracker(metrics=metric_ftns)
        self.train_metrics = self.metrics = MetricTracker(metrics=metric_ftns)  # of `measure`
        self.is_first_micro_batch = self.is_last_micro_batch = True  # of an optimizer step
        self.micro_batch_weight = 1.0  # of a micro-batch in the mean over its step
        self._endless: Iterator[Any] | None = None  # batches of passes that epochs do not end
        self.after_step: list[Any] = []  # what else to call after a step; one may remove itself
        self.state["scaler"] = self.scaler
        self.rank_state["train_metrics"] = self.train_metrics
        self._loader_counts = type(self).batch_size is Trainer.batch_size
        if hasattr(data_loader, "state_dict"):
            self.rank_state["data_loader"] = data_loader

    def train_step(self, batch: Any) -> dict[str, Any]:
        """Learn from one batch, which is on the device. Returns the values to average and log.

        A value is a mean over the samples of the batch; where it is a pair (value, n), over n.
        """
        data, target = batch
        output = self.model(data)
        loss = self.criterion(output, target)
        self.optimize(loss)
        return {"loss": loss, **self.measure(output, target)}

    def valid_step(self, batch: Any) -> dict[str, Any]:
        """The same for a batch of validation or test data, without learning."""
        data, target = batch
        output = self.model(data)
        return {"loss": self.criterion(output, target), **self.measure(output, target)}

    def optimize(self, loss: torch.Tensor, optimizer: Any = None) -> None:
        """One step of `optimizer`, taken with the last micro-batch; `loss` is a mean over samples.

        Raises RunError as `check_loss` does; a gradient that is not finite shows in the weights.
        """
        optimizer = optimizer or self.optimizer
        if self.is_first_micro_batch:
            optimizer.zero_grad()
        weighted = loss if self.micro_batch_weight == 1 else loss * self.micro_batch_weight
        with self.no_autocast:  # which PyTorch advises against in a backward pass
            self.scaler.scale(weighted).backward()
        self.check_loss(loss)
        if not self.is_last_micro_batch:
            return
        if self.clip_grad_norm is not None:
            self.scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            norm: Any = nn.utils.clip_grad_norm_(parameters, self.clip_grad_norm)
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of FSDP
            if self.scaler.is_enabled() or "finite" in self.state:  # bad steps are left out
                norm = (norm.nan_to_num(0, 0, 0), norm.isfinite())
            self.train_metrics.update("grad_norm", norm)
        self.scaler.step(optimizer)
        self.scaler.update()  # for each of several optimizers, as these take no micro-batches
        if torch.is_autocast_enabled(self.device.type):
            torch.clear_autocast_cache()  # it holds the weights from before the step

    def check_loss(self, loss: torch.Tensor) -> None:
        """Raise RunError for a loss that is not finite, or keep it for `stop_if_not_finite`."""
        if not self.checks_each_step:
            self.loss_sum = self.loss_sum + loss.detach().to(self.device)
        elif not isfinite(loss.item()):
            raise RunError(f"the loss is {loss.item()}; the step was not taken")

    def stop_if_not_finite(self) -> None:
        """Raise RunError where a trained weight, or a loss before, is not finite in any process."""
        has_no_scale = self.scaler.get_scale() < 1e-4  # so fp16 finds no finite gradients (fairseq)
        bad, optimizers = ~self.loss_sum.isfinite() | has_no_scale, by_name(self.optimizer).values()
        for p in [p for one in optimizers for group in one.param_groups for p in group["params"]]:
            own = p.to_local() if hasattr(p, "to_local") else p  # its part here, with FSDP
            bad = bad | ~own.isfinite().all().to(self.device)
        if distributed.all_reduce(bad.item(), "MAX"):
            raise RunError("the loss, a gradient or a weight is not finite since the last log line")

    def measure(self, output: Any, target: Any) -> dict[str, Any]:
        """The metrics of a batch by name."""
        if not self.metric_ftns:
            return {}
        with torch.no_grad():
            for metric in self.metrics.collectors if self.micro_batch_weight else ():
                metric.update(tree_map_only(torch.Tensor, torch.detach, output), target)
            values = {name: f(output, target) for name, f in self.metrics.functions.items()}
        if wrong := [name for name, value in values.items() if isinstance(value, tuple)]:
            raise UserError(f"metrics: {wrong[0]} gives a tuple: a metric is to give one number")
        return values

    def batch_size(self, batch: Any) -> int:
        """The number of samples in a batch. It weights the batch's values and its gradient.

        Override it to weight by tokens. A BaseDataLoader knows it; of others all fields must agree.
        """
        from utils.inferred import count_samples  # few loaders need it

        return count_samples(batch)

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        self.model.train()
        self.metrics = self.train_metrics
        if self.batch_idx == 0:  # else a resumed epoch goes on
            self.train_metrics.reset()
        schedules = [s.step for s in schedulers_for("step", self.lr_scheduler, self.config)]
        self.progress.start_epoch(self)
        batches = self._epoch_batches()
        while micro_batches := [*islice(batches, self.accumulate_steps)]:
            n_mean = sum(mean for _, _, mean in micro_batches)  # samples of a process in this step
            last = len(micro_batches) - 1
            for i, (batch, n, _) in enumerate(micro_batches):
                self.is_first_micro_batch, self.is_last_micro_batch = i == 0, i == last
                self.micro_batch_weight = n / n_mean
                batch = to_device(batch, self.device)
                no_sync = nullcontext if i == last else getattr(self.model, "no_sync", nullcontext)
                with self.autocast, no_sync():  # DDP averages gradients once in a step
                    values = self.train_step(batch)
                self.train_metrics.add(values, n)
            self.step += 1
            self.batch_idx += len(micro_batches)
            for call in (*self.after_step, *schedules):
                call()
            if self.batch_idx % self.log_step < len(micro_batches):
                if not self.checks_each_step:
                    self.stop_if_not_finite()
                self.progress.show(self)
            if self.stop_signals.received or self.asks_each_step:
                self._save_or_stop_if_due()
        if self.batch_idx == 0:
            raise UserError(NO_BATCH)
        self.stop_if_not_finite()
        log = self.train_metrics.result()
        if self.do_validation:
            log |= {f"val_{key}": value for key, value in self._valid_epoch(epoch).items()}
        log |= learning_rates(self.optimizer)
        for scheduler in schedulers_for("epoch", self.lr_scheduler, self.config):
            on_plateau = isinstance(scheduler, ReduceLROnPlateau)
            scheduler.step(self._monitored(log)) if on_plateau else scheduler.step()
        self.batch_idx = 0
        return log

    def _save(self, epochs_done: int, names: list[str]) -> None:
        self.stop_if_not_finite()  # no checkpoint has weights that are not finite
        super()._save(epochs_done, names)

    def _epoch_batches(self) -> Iterator[tuple[Any, int, float]]:
        """(batch, its samples here, and in a process on average), for the rest of the epoch."""
        loader, n_left = self.data_loader, max(0, self.len_epoch - self.batch_idx)
        if self.epoch_is_pass:
            has_state = "data_loader" in self.rank_state  # then it gives the rest of the pass
            batches = islice(loader, None if has_state else n_left)
        else:
            self._endless = self._endless or inf_loop(loader)
            batches = islice(self._endless, n_left)
        for batch in batches:
            n = self._n_samples(batch, loader)
            mean = getattr(loader, "n_samples_mean", 0.0) if self._loader_counts else 0.0
            if mean := mean or distributed.all_reduce(n) / distributed.world_size():
                yield batch, n, mean  # else no process has a sample in it

    def _n_samples(self, batch: Any, data_loader: Any) -> int:
        n = getattr(data_loader, "n_samples_in_batch", None)  # 0 where others count the batch
        return n if n == 0 or (n and self._loader_counts) else self.batch_size(batch)

    def _valid_epoch(self, epoch: int) -> dict[str, Any]:
        return self.evaluate(self.valid_data_loader)

    @torch.no_grad()
    def evaluate(self, data_loader: Any) -> dict[str, Any]:
        """The means of what `valid_step` gives, over all samples of a loader."""
        self.valid_metrics.reset()
        with preserved_random_state(self.device), averaged_model(self):
            self.model.eval()
            self.metrics, self.micro_batch_weight = self.valid_metrics, 1.0
            distributed.broadcast_buffers(self.model)
            for batch in data_loader:
                if (n := self._n_samples(batch, data_loader)) == 0:
                    continue  # of a stream, in another process
                batch = to_device(batch, self.device)
                with self.autocast:
                    self.valid_metrics.add(self.valid_step(batch), n)
        self.metrics = self.train_metrics
        return self.valid_metrics.result()
