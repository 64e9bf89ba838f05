"""Try everything on one training and one validation batch, and leave nothing behind."""

import time
from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import Any

import torch

from parse_config import ConfigParser
from utils import checkpoint, distributed, extras
from utils.batches import NO_BATCH
from utils.errors import UserError
from utils.meter import plain_numbers
from utils.optim import learning_rates
from utils.run_dir import BEST_NAME, remove

FLAG = {"action": "store_true", "help": "try everything on one batch and leave nothing behind"}


def run(config: ConfigParser, _: Any) -> None:
    """Check the trainer that a config describes."""
    from train import build_trainer  # here, as the train.py of an old project has none

    extras.for_one_process("--check")
    check(build_trainer(config))


def check(trainer: Any) -> None:
    """Print what a trainer does with one batch. Raises UserError for what would end a run."""
    config = trainer.config
    extras.of_a_new_run(config, "--check")
    before = {*config.save_dir.iterdir()}
    trainer._save_or_stop_if_due = lambda: None  # the one checkpoint is written by itself
    try:
        for name, finding in findings(trainer):
            print(f"{name:<18}{finding}")
        print("All is well.")
    finally:
        trainer.writer.close()
        for path in {*config.save_dir.iterdir()} - before:
            remove(path)
        config.discard_run()


def findings(trainer: Any) -> Iterator[tuple[str, str]]:
    """Pairs of what was looked at and what was seen; raises what goes wrong on the way."""
    start(trainer)
    loader, valid_loader = trainer.data_loader, getattr(trainer, "valid_data_loader", None)
    n_batches = getattr(trainer, "len_epoch", None) or len(loader)
    use(trainer, FirstBatches(loader, 1))
    yield "training batch", describe(trainer.data_loader.batches[0][0])
    if valid_loader is not None:
        trainer.valid_data_loader = FirstBatches(valid_loader, 1)
        yield "validation batch", describe(trainer.valid_data_loader.batches[0][0])
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    yield "first step", values_of_epoch(trainer)
    if all(map(torch.equal, before, trained)) and any(learning_rates(trainer.optimizer).values()):
        raise UserError("the first step has changed no weight: train_step is to call self.optimize")
    yield "monitor", trainer.monitor
    yield "checkpoint", size_of_checkpoint(trainer)
    began = time.perf_counter()
    use(trainer, FirstBatches(loader, 5))
    trainer._train_epoch(2)
    seconds = (time.perf_counter() - began) / len(trainer.data_loader) * n_batches
    yield "training time", f"about {seconds:.2g} s for an epoch of {n_batches} batches"


def start(trainer: Any) -> None:
    """Let the callbacks find mistakes, as before a training; see utils/run.py."""
    for callback in trainer.callbacks:
        callback.on_setup(trainer)
    trainer.writer = type(trainer.writer)(trainer.checkpoint_dir, trainer.logger, enabled=False)
    for callback in trainer.callbacks:
        callback.on_train_start(trainer)
    checkpoint.check(trainer)


def use(trainer: Any, batches: "FirstBatches") -> None:
    """Let the next epoch have these batches."""
    trainer.data_loader, trainer.len_epoch = batches, len(batches)
    trainer.epoch_is_pass, trainer._endless = False, None


def values_of_epoch(trainer: Any) -> str:
    """What an epoch gives, validation included. Raises UserError for a loss that is no number."""
    trainer.epoch = 1
    log = plain_numbers(trainer._train_epoch(1))
    trainer._is_best(log)
    values = {name: value for name, value in log.items() if isinstance(value, (int, float))}
    for name, value in values.items():
        if name.endswith("loss") and not isfinite(value):
            raise UserError(f"{name} is {value} on the first batch")
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def size_of_checkpoint(trainer: Any) -> str:
    """Write a checkpoint, read it back, and load its weights."""
    trainer._save_checkpoint(trainer.save_period, save_best=True)
    trainer.saver.wait()
    path = trainer.checkpoint_dir / BEST_NAME
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

    Raises UserError where the loader gives no batch.
    """

    COUNTS = ("n_samples_in_batch", "n_samples_mean")  # what a BaseDataLoader says of a batch

    def __init__(self, loader: Any, n: int) -> None:
        self.loader = loader
        self.batches: list[tuple[Any, dict[str, Any]]] = []  # with the counts of each
        for batch in islice(loader, n):
            counts = {name: getattr(loader, name) for name in self.COUNTS if hasattr(loader, name)}
            self.batches.append((batch, counts))
        if not self.batches:
            raise UserError(NO_BATCH)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for batch, counts in self.batches:
            vars(self).update(counts)
            yield batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)
