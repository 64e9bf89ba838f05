"""Go through everything on one training and one validation batch, and leave nothing behind."""

import copy
import time
from collections.abc import Iterator
from math import isfinite
from typing import Any

import torch

from logger import TensorboardWriter
from parse_config import ConfigParser
from tools.compare import first_difference
from tools.first_batches import FirstBatches
from utils import checkpoint, distributed, extras
from utils.errors import UserError
from utils.meter import plain_numbers
from utils.optim import learning_rates
from utils.run_dir import BEST_NAME, remove

FLAG = {"action": "store_true", "help": "try everything on one batch and leave nothing behind"}


def run(config: ConfigParser, _: Any) -> None:
    """Check the trainer that a config describes."""
    from train import build_trainer  # here, as the train.py of an old project has none

    extras.for_one_process("--check")
    extras.of_a_new_run(config, "--check")
    check(build_trainer(config))


def check(trainer: Any) -> None:
    """Print what a trainer does with one batch. Raises UserError for what would end a run."""
    config = trainer.config
    extras.of_a_new_run(config, "--check")
    before = {*config.save_dir.iterdir()}
    trainer._save_or_stop_if_due = lambda: None  # the one checkpoint is written by itself
    try:
        start(trainer)
        for name, finding in findings(trainer):
            print(f"{name:<18}{finding}")
        print("All is well.")
    finally:
        trainer.writer.close()
        for path in {*config.save_dir.iterdir()} - before:
            remove(path)
        config.discard_run()


def start(trainer: Any) -> None:
    """Let the callbacks find mistakes, as before a training; see utils/run.py."""
    for callback in trainer.callbacks:
        callback.on_setup(trainer)
    trainer.writer = TensorboardWriter(trainer.checkpoint_dir, trainer.logger, enabled=False)
    for callback in trainer.callbacks:
        callback.on_train_start(trainer)
    checkpoint.check(trainer)


def findings(trainer: Any) -> Iterator[tuple[str, str]]:
    """Pairs of what was looked at and what was seen; raises what goes wrong on the way."""
    loader, valid_loader = trainer.data_loader, getattr(trainer, "valid_data_loader", None)
    n_batches = getattr(trainer, "len_epoch", None) or len(loader)
    batches, data_seconds = first_batch(loader)
    yield "training batch", describe(batches.batches[0][0])
    use(trainer, batches, 1)
    if valid_loader is not None:
        trainer.valid_data_loader = FirstBatches(valid_loader, 1)
        yield "validation batch", describe(trainer.valid_data_loader.batches[0][0])
    parameters = list(trainer.model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    yield "parameters", f"{sum(p.numel() for p in parameters):,}, of which {trained:,} are trained"
    before = [p.detach().clone() for p in parameters if p.requires_grad]
    yield "first step", values_of(trainer)
    after = [p.detach() for p in parameters if p.requires_grad]
    if all(map(torch.equal, before, after)) and any(learning_rates(trainer.optimizer).values()):
        raise UserError("the first step has changed no weight: train_step is to call self.optimize")
    yield "monitor", trainer.monitor
    yield "checkpoint", size_of_checkpoint(trainer)
    yield "memory", peak_memory(trainer.device)
    seconds = (seconds_of_step(trainer, batches) + data_seconds) * n_batches
    yield "training time", f"about {seconds:.2g} s for an epoch of {n_batches} batches"
    if comparison := compare_workers(trainer, loader):
        yield "workers", comparison


def use(trainer: Any, loader: Any, n_batches: int) -> None:
    """Let the next epoch have so many batches of a loader."""
    trainer.data_loader, trainer.len_epoch = loader, n_batches
    trainer.epoch_is_pass, trainer._endless = False, None


def values_of(trainer: Any) -> str:
    """What an epoch of one batch gives, validation included."""
    trainer.epoch = 1
    log = plain_numbers(trainer._train_epoch(1))
    trainer._is_best(log)
    for name, value in log.items():
        is_loss = name.endswith("loss") and isinstance(value, (int, float))
        if is_loss and not isfinite(value):
            raise UserError(f"{name} is {value} on the first batch")
    numbers = {name: value for name, value in log.items() if isinstance(value, (int, float))}
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def size_of_checkpoint(trainer: Any) -> str:
    """Write a checkpoint, read it back, and compare it with what is in memory."""
    trainer._save_checkpoint(trainer.save_period, save_best=True)
    trainer.saver.wait()
    path = trainer.checkpoint_dir / BEST_NAME
    saved = checkpoint.load(path)
    parts = {"optimizer": trainer.optimizer, "lr_scheduler": trainer.lr_scheduler}
    parts |= trainer.state | trainer.rank_state
    parts["state_dict"] = distributed.unwrap(trainer.model)
    for name, part in parts.items():
        if saved.get(name) is None:  # a trainer that saves by itself may have it elsewhere
            continue
        if difference := first_difference(
            checkpoint.to_plain(checkpoint.get_state(part)), saved[name], name
        ):
            raise UserError(f"{path}: what was read back differs from memory in {difference}")
    return f"{path.stat().st_size / 1e6:.1f} MB, read back and equal"


def first_batch(loader: Any) -> tuple[FirstBatches, float]:
    """The first batch, and the seconds that the second one takes, once the loader is warm."""
    iterator = iter(loader)
    first = FirstBatches(loader, 1, iterator)
    start = time.perf_counter()
    next(iterator, None)
    return first, time.perf_counter() - start


def seconds_of_step(trainer: Any, batches: FirstBatches, n: int = 5) -> float:
    """The mean of a few training steps once everything is warm, a validation batch included."""
    batches.batches *= n
    use(trainer, batches, n)
    start = time.perf_counter()
    trainer._train_epoch(2)
    return (time.perf_counter() - start) / n


def compare_workers(trainer: Any, loader: Any) -> str | None:
    """What a training step and its batch take with the workers of the loader, and without."""
    n_workers = getattr(loader, "num_workers", 0)
    loop = type(trainer)._train_epoch.__module__ if hasattr(trainer, "_epoch_batches") else None
    if n_workers == 0 or loop != "trainer.trainer":  # one that is not known
        return None
    alone = copy.copy(loader)
    alone.num_workers = 0
    n_fetched = n_workers * loader.prefetch_factor
    turns = [(ms_of_step(trainer, one, n_fetched) for one in (loader, alone)) for _ in range(3)]
    busy, none = map(min, zip(*turns, strict=True))  # other programs only add to it
    verdict = f"{n_workers if busy < none else 0} are faster"
    if abs(busy / none - 1) < 0.05:
        verdict = "no difference"
    return f"{busy:.3g} ms a step and its batch with {n_workers}, {none:.3g} with 0: {verdict}"


def ms_of_step(trainer: Any, loader: Any, n_fetched: int, n: int = 6) -> float:
    """The mean of `n` steps with their batches, after those that workers fetch at their start."""
    use(trainer, loader, (n_fetched + 1 + n) * trainer.accumulate_steps)
    trainer.do_validation, trainer.asks_each_step, times = False, True, []
    trainer._save_or_stop_if_due = lambda: times.append(time.perf_counter())
    trainer._train_epoch(3)
    return 1000 * (time.perf_counter() - times[n_fetched]) / n


def peak_memory(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 1e6:,.0f} MB on the GPU at most"
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return "unknown"
    return f"{getrusage(RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB at most"


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
