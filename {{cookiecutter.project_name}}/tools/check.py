"""A run of a few batches that does all that a run does, and leaves nothing behind."""

import logging
import os
import time
from collections.abc import Iterator
from itertools import islice
from math import isfinite
from shutil import rmtree
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from base import BaseTrainer
from parse_config import ConfigParser
from utils import checkpoint, distributed, extras
from utils.errors import UserError, in_one_line
from utils.optim import learning_rates, schedulers_for
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
