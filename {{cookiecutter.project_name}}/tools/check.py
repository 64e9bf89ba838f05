"""Mistakes that show early: --check tries a run on a few batches, first steps are watched."""

import logging
import os
import re
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from math import isfinite
from shutil import rmtree
from traceback import walk_stack
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from utils import checkpoint, distributed, extras
from utils.errors import UserError, in_one_line, place_of
from utils.optim import by_name, learning_rates, parameters_of, schedulers_for
from utils.run_dir import BEST_NAME, LAST_NAME, make_run_dir, remove
from utils.samples import NO_BATCH, length_of

FLAG = {"action": "store_true", "help": "try everything on a few batches and leave nothing behind"}
BATCHES, MOST_STEPS = 5, 100_000


def run(config: ConfigParser, _: Any) -> None:
    """Check the trainer that a config describes."""
    from train import build_trainer  # here, as the train.py of an old project has none

    extras.for_one_process("--check")
    # Where -r auto does not find what a check leaves that is killed
    saved = config.runs_dir.parent / f".check-{os.getpid()}"
    config.save_dir, config._made = make_run_dir(saved / config["name"])
    try:
        check(build_trainer(config))
    finally:
        rmtree(saved, ignore_errors=True)
        config.discard_run()


def check(trainer: Any) -> None:
    """Print what a trainer does with some batches. Raises UserError for what would end a run."""
    config = trainer.config
    extras.of_a_new_run(config, "--check")
    before = {*config.save_dir.glob("*")}
    os.environ["WANDB_MODE"] = "offline"
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # then it writes a file there
    logging.disable(logging.INFO)
    warnings: list[Any] = []
    logging.getLogger().addHandler(handler := logging.Handler())
    handler.emit = warnings.append  # type: ignore
    try:
        for name, finding in findings(trainer):
            print(f"{name:<18}{finding}")
        print("See the warnings above." if warnings else "All is well.")
    finally:
        logging.getLogger().removeHandler(handler)
        logging.disable(logging.NOTSET)
        trainer.writer.close()
        for path in {*config.save_dir.glob("*")} - before:
            remove(path)
        config.discard_run()


def findings(trainer: Any) -> Iterator[tuple[str, str]]:
    """Pairs of what was looked at and what was seen; raises what goes wrong on the way."""
    loader, valid_loader = trainer.data_loader, getattr(trainer, "valid_data_loader", None)
    n_batches = getattr(trainer, "len_epoch", None) or length_of(loader) or 0
    accumulate_steps = getattr(trainer, "accumulate_steps", 1)
    batches = FirstBatches(loader, max(BATCHES, 2 * accumulate_steps), with_smallest=True)
    yield "training batch", describe(batches.batches[0][0])
    if valid_loader is not None:
        valid_loader = FirstBatches(valid_loader, 1, with_smallest=True)
        yield "validation batch", describe(valid_loader.batches[0][0])
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    before, rates = [p.detach().clone() for p in trained], learning_rates(trainer.optimizer)
    log = train_on(trainer, batches, valid_loader)
    values = {k: v for k, v in log.items() if k != "epoch" and isinstance(v, (int, float))}
    for name, value in values.items():
        if name.endswith("loss") and not isfinite(value):
            raise UserError(f"{name} is {value} on the first batches")
    if all(map(torch.equal, before, trained)) and any(rates.values()):
        raise UserError("no step has changed a weight: train_step is to call self.optimize(loss)")
    yield f"{len(batches)} batches", "  ".join(f"{k} {v:.4g}" for k, v in values.items())
    yield "monitor", trainer.monitor
    yield "checkpoint", size_of_checkpoint(trainer)
    steps = trainer.epochs * -(-n_batches // accumulate_steps)
    for interval, n in ("epoch", trainer.epochs), ("step", steps):
        for scheduler in schedulers_for(interval, trainer.lr_scheduler, trainer.config):
            yield "schedule", f"{n} {interval}s, {end_of(scheduler, n)}"
    if (report := trainer.checkpoint_dir / "report.html").exists():
        yield "report", f"{report.stat().st_size / 1e6:.1f} MB"
    first, *times = batches.times
    if n_batches and len(times) > 1:  # the first step takes longer
        seconds = (times[-1] - times[0]) / (len(times) - 1) * n_batches
        yield "training time", f"about {seconds:.2g} s for an epoch of {n_batches} batches"


def train_on(trainer: Any, batches: "FirstBatches", valid_batches: Any) -> dict[str, Any]:
    """A training of one epoch of these batches, with everything else as in a run; its log."""
    train_epoch, attributes = trainer._train_epoch, vars(trainer)

    def short_epoch(epoch: int) -> dict[str, Any]:
        few = {"data_loader": batches, "valid_data_loader": valid_batches}
        few |= {"len_epoch": len(batches), "epoch_is_pass": True}
        real = {name: attributes[name] for name in few if name in attributes}
        attributes.update(few, early_stop=0)  # no other epoch
        try:
            return train_epoch(epoch)
        finally:
            attributes.update(real)

    trainer._train_epoch = short_epoch
    trainer._save_or_stop_if_due = lambda: None  # one checkpoint is enough
    return BaseTrainer.train(trainer)  # a subclass may have another


def end_of(scheduler: Any, n: int) -> str:
    """The last learning rate of a schedule of n steps. Raises UserError where it has fewer."""
    if isinstance(scheduler, ReduceLROnPlateau) or not hasattr(scheduler, "get_last_lr"):
        return type(scheduler).__name__
    rate = scheduler.get_last_lr()[0]
    try:
        for _ in range(min(n - scheduler.last_epoch, MOST_STEPS)):
            rate = scheduler.get_last_lr()[0]
            scheduler.step()
    except Exception as error:
        raise UserError(f"lr_scheduler: the run takes {n} steps: {in_one_line(error)}") from error
    length = f", T_max = {scheduler.T_max}" if hasattr(scheduler, "T_max") else ""
    return f"lr {rate:.3g} in the last{length}"


def size_of_checkpoint(trainer: Any) -> str:
    """Read the checkpoint, and load its weights."""
    path = trainer.checkpoint_dir / (BEST_NAME if trainer.mnt_mode != "off" else LAST_NAME)
    weights = checkpoint.load(path)["state_dict"]
    checkpoint.set_weights(distributed.unwrap(trainer.model), weights, path)
    return f"{path.stat().st_size / 1e6:.1f} MB, read back"


def describe(batch: Any) -> str:
    """Types and shapes of the tensors in a batch."""
    if isinstance(batch, torch.Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
    if isinstance(batch, dict):
        return "{" + ", ".join(f"{key}: {describe(value)}" for key, value in batch.items()) + "}"
    if isinstance(batch, (list, tuple)):
        if len(batch) > 1 and {type(one) for one in batch} < {str, int, float, bool}:
            return f"{len(batch)} {type(batch[0]).__name__}"
        return ", ".join(map(describe, batch))
    return type(batch).__name__


class FirstBatches:
    """The first `n` batches of a loader, kept in memory; whatever else is asked, the loader says.

    `with_smallest`: then the smallest of a pass, which may have a single sample, where a
    BaseDataLoader tells. Raises UserError where the loader gives no batch.
    """

    COUNTS = ("n_samples_in_batch", "n_samples_mean")  # what a BaseDataLoader says of a batch

    def __init__(self, loader: Any, n: int, with_smallest: bool = False) -> None:
        self.loader = loader
        self.batches: list[tuple[Any, dict[str, Any]]] = []  # with the counts of each
        self.times: list[float] = []  # when each was asked for
        start = smallest(loader, n) if with_smallest else None
        self.add(n)
        if start is not None:
            loader.load_state_dict(loader.state_dict() | {"samples": start})
            self.add(1)
        if not self.batches:
            raise UserError(NO_BATCH)

    def add(self, n: int) -> None:
        for batch in islice(self.loader, n):
            has = [name for name in self.COUNTS if hasattr(self.loader, name)]
            self.batches.append((batch, {name: getattr(self.loader, name) for name in has}))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch, counts in self.batches:
            self.times.append(time.perf_counter())
            vars(self).update(counts)
            yield batch
        self.times.append(time.perf_counter())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def smallest(loader: Any, n: int) -> int | None:
    """After how many samples of a pass its smallest batch comes; None where nobody tells."""
    sampler: Any = getattr(loader, "batch_sampler", None)
    if not hasattr(sampler, "cuts") or len(loader) <= n:
        return None
    sampler.order(sampler.seed, sampler.epoch)  # that of others decides where it is cut
    return min((stop - start, start) for _, start, stop in sampler.cuts(0))[1]


STEPS = 10  # are watched
ADVICE = {  # on what torch says
    r"values to unpack|Tensor, not|got \((str|list|dict)|'(str|list|dict)' obj": (
        "train_step takes (input, target), two tensors: write it for this batch"
    ),
    r"Target .* out of bounds": "arch.args are to give as many classes as the data have",
    r"target dtype|ulti-target|Target size|type Long": "cross_entropy takes int64 (N,) as targets, "
    "class numbers; other losses take floats in the shape of the output",
    r"Input type|same dtype|scalar type|Found dtype": "the data loader is to give float32",
    r"be multiplied|to have \d+ channels|size mismatch|xpected \dD": "arch.args are to fit it",
    r"range in self|out of bounds|device-side assert": "a number in it is too large for arch.args",
    r"on the same device": "what train_step or forward makes is to have device=self.device",
    r"does not require grad": "the loss is to depend on weights that are trained",
    r"for scalar outputs": "the loss is to be one number, the mean over the batch",
    r"graph a second time": "self.optimize(loss) does the backward pass: leave out loss.backward()",
}
OWN_STEP = "train_step: call self.optimize(loss): a bare optimizer.step() clips and checks nothing"
OLD_GRADIENTS = "train_step: gradients of all steps add up: self.optimize(loss) clears them first"
NO_STEP = f"{STEPS} batches, and no optimizer.step(): train_step is to call self.optimize(loss)"


class FirstSteps(Callback):
    """Is in the place of `train_step` for some steps."""

    is_in_place = is_over = False

    def on_data_built(self, data_loader: Any, config: Any) -> None:
        if not hasattr(data_loader, "__iter__"):
            kind = f"a {type(data_loader).__name__} has no __iter__, so it gives no batches"
            raise UserError(f"data_loader.type = {config['data_loader']['type']!r}: {kind}")

    def on_train_start(self, trainer: Any) -> None:
        if not hasattr(trainer, "is_first_micro_batch"):
            return  # a loop of its own
        self.trainer, self.n_steps, self.is_over = trainer, 0, False
        optimizers = [x for x in by_name(trainer.optimizer).values() if hasattr(x, "param_groups")]
        self.handles = [x.register_step_pre_hook(self.on_step) for x in optimizers]
        self.old_gradients: dict[Any, bool | None] = {}  # in the next step; None: not known yet
        if not self.is_in_place:  # else others had put themselves before it, and it stayed
            self.train_step, trainer.train_step = trainer.train_step, self.watched_step
            self.is_in_place = True

    def on_train_end(self, trainer: Any, outcome: str) -> None:
        for handle in vars(self).get("handles", ()):
            handle.remove()
        self.is_over = True
        if vars(trainer).get("train_step") == self.watched_step:
            del vars(trainer)["train_step"]
            if getattr(self.train_step, "__self__", None) is not trainer:  # set by others
                trainer.train_step = self.train_step
            vars(self).clear()  # it had the trainer, which had it

    def watched_step(self, batch: Any) -> Any:
        """The same as `train_step`, whose errors are explained."""
        train_step = self.train_step
        if self.is_over:
            return train_step(batch)
        self.n_steps += self.trainer.is_first_micro_batch
        if self.n_steps > STEPS:
            if not self.old_gradients:
                self.trainer.logger.warning(NO_STEP)
            self.on_train_end(self.trainer, "")
            return train_step(batch)
        try:
            return train_step(batch)
        except Exception as error:
            advice = next((x for k, x in ADVICE.items() if re.search(k, str(error))), None)
            if advice is None or isinstance(error, UserError):
                raise
            words = f"{place_of(error)}{in_one_line(error)}".rstrip(".")
            what = describe(batch)
            if re.fullmatch(r"u?int\d+ \(\d+,\), float\d+ \(\d+, .+\)", what):  # swapped
                advice = "the data loader is to give (input, target)"
            self.trainer.logger.info("In full:", exc_info=error, extra={"is_shown": True})
            raise UserError(f"{words}; the batch is {what}: {advice}") from error

    def on_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before a step of an optimizer, whoever takes it."""
        if self.old_gradients.get(optimizer):
            raise UserError(OLD_GRADIENTS)
        if optimizer not in self.old_gradients:
            callers = {frame.f_code.co_name for frame, _ in walk_stack(None)}
            has_closure = len(args) > 1 or kwargs.get("closure")
            if "optimize" not in callers and "watched_step" in callers and not has_closure:
                self.trainer.logger.warning(OWN_STEP)
            found = [p for p in parameters_of(optimizer) if type(p.grad) is torch.Tensor]
            for p in [p for p in found if p.grad.layout is torch.strided][:1]:
                self.handles.append(p.register_hook(partial(self.on_gradient, optimizer, p)))
        self.old_gradients[optimizer] = None

    def on_gradient(self, optimizer: Any, parameter: Any, gradient: Any) -> None:
        """Before a gradient is added to that of a parameter."""
        has_old = parameter.grad is not None and bool(parameter.grad.any())
        self.old_gradients[optimizer] = has_old and self.old_gradients[optimizer] is not False
