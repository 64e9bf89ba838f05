from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import NamedTuple

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from base import BaseTrainer
from utils import MetricTracker, checkpoint, distributed, inf_loop
from utils.device import batch_size, to_device
from utils.errors import NotFinite, UserError
from utils.loop import Place, Stream
from utils.precision import AS_IT_IS, EagerIfSmaller, autocast, grad_scaler, prepare_model
from utils.schedule import learning_rates, schedulers_for


class Share(NamedTuple):
    """What one batch is of an optimizer step."""

    samples: int = 1
    of: float = 1
    is_first: bool = True
    is_last: bool = True


WHOLE = [Share()]


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
        settings = config.settings.trainer
        if device is not None:
            self.device = torch.device(device)
            self.model.to(self.device)
        self.ema = None
        if settings.ema is not None:
            self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
        prepare_model(self.model, settings)
        self.autocast = autocast(settings.precision, self.device)
        self.scaler = grad_scaler(settings.precision, self.device)
        self.eager_if_smaller = EagerIfSmaller(settings.compile is not False)
        is_alone = distributed.size() == 1 and self.device.type == "cpu"
        self.is_plain = is_alone and settings.compile is False and self.autocast == AS_IT_IS
        self.data_loader = data_loader
        self.valid_data_loader = valid_data_loader
        self.do_validation = valid_data_loader is not None
        self.lr_scheduler = lr_scheduler
        self.is_pass = (len_epoch or settings.len_epoch) is None  # an epoch is, over the data
        self.len_epoch = len_epoch or settings.len_epoch or length_of(data_loader)
        self.accumulate_steps = settings.accumulate_steps
        self.clip_grad_norm = settings.clip_grad_norm
        self.log_step = settings.log_step
        self.guard = import_module("tools").new_guard(self)
        self.train_metrics = MetricTracker(metrics=metric_ftns)
        self.valid_metrics = MetricTracker(metrics=metric_ftns)
        self.batch_idx = 0  # batches done of the epoch that runs
        self.stream = Stream(config.settings.seed)
        self._endless = None  # batches of a loader that has no set_epoch
        self._n_before = 0  # samples of all processes before the step
        [self._share] = WHOLE

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

        Where a step has several batches, it is taken with the last of them. Raises NotFinite before
        the step where loss or gradients are not.
        """
        optimizer = optimizer or self.optimizer
        share = self._share
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if share.is_first:
            for parameter in parameters:  # as optimizer.zero_grad() does, in less time
                parameter.grad = None
        if share.samples != share.of:
            loss = loss * share.samples / share.of
        self.scaler.scale(loss).backward()
        if not share.is_last:
            return
        norms = None
        if self.clip_grad_norm is not None:
            self.scaler.unscale_(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip_grad_norm)
            norms = [distributed.whole(norm)]
            self.train_metrics.update("grad_norm", *norms)
        self.guard.check(self, loss, parameters, optimizer, norms)
        self.scaler.step(optimizer)
        self.scaler.update()
        torch.clear_autocast_cache()  # it holds the weights from before the step

    def measure(self, output, target):
        """The metrics of a batch by name."""
        if not self.metric_ftns:
            return {}
        metrics = self.train_metrics if self.model.training else self.valid_metrics
        with torch.no_grad():
            return metrics.measure(output, target)

    def batch_size(self, batch):
        """How many samples a batch has: the weight of its values in the means."""
        return batch_size(batch)

    def _train_epoch(self, epoch):
        self.model.train()
        if self.batch_idx == 0:  # else a resumed epoch goes on
            self.train_metrics.reset()
            if self.is_pass:
                self.stream.begin(Place(epoch - 1))
        step_schedulers = self._schedulers("step")
        shown = self.progress.training(self, self._batches())
        for batches in self.guard.watch(self, in_groups(shown, self.accumulate_steps)):
            try:
                self._step(batches)
            except NotFinite as error:
                self.guard.leave_out(self, error, batches)
            self.step += 1
            self.batch_idx += len(batches)
            for scheduler in step_schedulers:
                scheduler.step()
            if self.batch_idx % self.log_step < len(batches):
                self._log_progress()
            self._after_step()
        self.guard.look(self)
        log = self.train_metrics.result()
        if self.do_validation:
            log |= {f"val_{key}": value for key, value in self._valid_epoch(epoch).items()}
        log |= learning_rates(self.optimizer)
        for scheduler in self._schedulers("epoch"):
            on_plateau = isinstance(scheduler, ReduceLROnPlateau)
            scheduler.step(self._monitored(log)) if on_plateau else scheduler.step()
        self.batch_idx = 0
        return log

    def _step(self, batches):
        """One optimizer step: `train_step` for each of its batches."""
        sizes = [*map(self.batch_size, batches)]
        for batch, n, share in zip(batches, sizes, self._shares(sizes), strict=True):
            self._share = share
            values = self.train_step(batch) if self.is_plain else self._in_context(batch, n)
            self.train_metrics.add(values, n)
        if self.ema is not None:
            self.ema.update_parameters(self.model)

    def _in_context(self, batch, n):
        """`train_step` for `n` samples, where something is to be done around it."""
        averaging = distributed.averaging(self.model, self._share.is_last)
        with self.autocast, self.eager_if_smaller(n), averaging:
            return self.train_step(to_device(batch, self.device))

    def _shares(self, sizes):
        """The share that each batch has in its optimizer step, by the numbers of their samples."""
        if len(sizes) == distributed.size() == 1:
            return WHOLE
        of, last = sum(sizes), len(sizes) - 1
        if distributed.size() > 1:  # as many as a process has on average
            new, self._n_before = self.stream.samples - self._n_before, self.stream.samples
            total = new or sum(map(sum, distributed.gather(sizes)))  # of other loaders or loops
            of = total / distributed.size()
        return [Share(n, of, index == 0, index == last) for index, n in enumerate(sizes)]

    def _save(self, epochs_done, names):
        self.guard.look(self)
        super()._save(epochs_done, names)

    def _valid_epoch(self, epoch):
        return self.evaluate(self.valid_data_loader)

    @torch.no_grad()
    def evaluate(self, data_loader):
        """The means of what `valid_step` gives, over all samples of a loader."""
        self.valid_metrics.reset()
        votes, n_common, signal = distributed.Votes(), distributed.common_batches(data_loader), 0
        with self.averaged_model():
            self.model.eval()
            distributed.share_buffers(self.model)
            for index, batch in enumerate(self.progress.evaluation(self, data_loader)):
                if index < n_common:
                    [signal] = votes.cast(self.stop_signals.received)
                if signal:
                    break
                n = self.batch_size(batch)
                with self.autocast, self.eager_if_smaller(n):
                    values = self.valid_step(to_device(batch, self.device))
                self.valid_metrics.add(values, n)
        self._leave_if_asked(self.epoch - 1, signal)
        return self.valid_metrics.result()

    @contextmanager
    def averaged_model(self):
        """Where an average of the weights is kept, `model` is the one with these inside."""
        trained = self.model
        self.model = distributed.unwrap(trained) if self.ema is None else self.ema.module
        try:
            yield
        finally:
            self.model = trained

    def _batches(self):
        """The batches of the epoch that are not done yet: of a pass, or of endless passes."""
        if hasattr(self.data_loader, "set_epoch"):
            if self.is_pass and self.len_epoch == len(self.data_loader):
                return self.stream.rest_of_pass(self.data_loader)
            batches = self.stream.endless(self.data_loader)
        else:
            batches = self._endless = self._endless or inf_loop(self.data_loader)
        return islice(batches, max(0, self.len_epoch - self.batch_idx))

    def _schedulers(self, interval):
        return schedulers_for(interval, self.lr_scheduler, self.config.settings.lr_scheduler)

    def _state(self, epochs_done):
        return super()._state(epochs_done) | {
            "batch_idx": self.batch_idx,
            "place": [*self.stream.place],
            "n_skipped": self.guard.n_skipped,
            "ema": checkpoint.get_state(self.ema),
            "scaler": self.scaler.state_dict(),
        }

    def _rank_state(self):
        return super()._rank_state() | {"train_metrics": self.train_metrics.state_dict()}

    def _load_state(self, state):
        super()._load_state(state)
        self.batch_idx = state["batch_idx"]
        self.stream.begin(state["place"] or Place(state["epoch"]))
        self.guard.n_skipped = state["n_skipped"]
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            checkpoint.set_state(self.ema, state["ema"])
        ranks = [state, *state["ranks"]]
        for one in ranks[distributed.rank() :: distributed.size()]:
            if one["train_metrics"] is not None and self.batch_idx > 0:
                self.train_metrics.load_state_dict(one["train_metrics"])

    def _log_progress(self):
        """Means since the last such line, on the console and in TensorBoard."""
        self.guard.look(self)
        if not distributed.is_main():
            return
        values = self.train_metrics.window() | learning_rates(self.optimizer)
        self.writer.set_step(self.step)
        self.writer.add_values(values)
        self.progress.show(self, values)


def in_groups(batches, size):
    """Lists of `size` batches each; the last may be shorter."""
    batches = iter(batches)
    while group := list(islice(batches, size)):
        yield group


def length_of(data_loader):
    if data_loader is None:
        raise TypeError("Trainer needs a data_loader")
    try:
        return len(data_loader)
    except TypeError:
        message = "trainer.len_epoch: a data loader without length needs it"
        raise UserError(message) from None
