"""Go through everything on one training and one validation batch, and leave nothing behind."""

import copy
import time
from math import isfinite

import torch

from tools.compare import first_difference
from utils import UserError, checkpoint
from utils.optional import find_tool
from utils.schedule import learning_rates


class Batches(list):
    """A few batches in place of a loader, with what else a trainer asks of the loader."""

    def __init__(self, batches, loader):
        super().__init__(batches)
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)


def run(config, _):
    from train import build_trainer  # here, as the train.py of an old project has none

    check(build_trainer(config))


def check(trainer):
    trainer.writer.trackers = []
    config = trainer.config
    if config.resume is not None:
        raise UserError("--check starts from a config (-c), not from a checkpoint (-r)")
    before = {*config.save_dir.iterdir()}
    try:
        for name, finding in findings(trainer):
            print(f"{name:<18}{finding}")
        print("All is well.")
    finally:
        trainer.writer.close()
        for path in {*config.save_dir.iterdir()} - before:
            path.unlink()
        config.discard_run()


def findings(trainer):
    """Pairs of what was looked at and what was seen; raises what goes wrong on the way."""
    if monitor := find_tool("monitor"):
        monitor.Watcher().begin(trainer)
    loader, valid_loader = trainer.data_loader, getattr(trainer, "valid_data_loader", None)
    n_batches = getattr(trainer, "len_epoch", None) or len(loader)
    data_seconds, batch = first_batch(loader)
    yield "training batch", describe(batch)
    use(trainer, Batches([batch], loader), 1)
    if valid_loader is not None:
        trainer.valid_data_loader = Batches([next(iter(valid_loader))], valid_loader)
        yield "validation batch", describe(trainer.valid_data_loader[0])
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
    seconds = (seconds_of_step(trainer, batch) + data_seconds) * n_batches
    yield "training time", f"about {seconds:.2g} s for an epoch of {n_batches} batches"
    if comparison := compare_workers(trainer, loader):
        yield "workers", comparison


def use(trainer, loader, n_batches):
    """Let the next epoch have so many batches of a loader."""
    trainer.data_loader, trainer.len_epoch, trainer._endless = loader, n_batches, None


def values_of(trainer):
    """What an epoch of one batch gives, validation included."""
    log = trainer._train_epoch(1)
    trainer._is_best(log)
    for name, value in log.items():
        if name.endswith("loss") and not isfinite(value):
            raise UserError(f"{name} is {value} on the first batch")
    return "  ".join(f"{name} {value:.4g}" for name, value in log.items())


def size_of_checkpoint(trainer):
    """Write a checkpoint, read it back, and compare it with what is in memory."""
    trainer._save_checkpoint(trainer.save_period, save_best=True)
    trainer.saver.wait()
    path = trainer.checkpoint_dir / checkpoint.BEST_NAME
    saved = checkpoint.load(path)
    pairs = [(trainer.model.state_dict(), saved["state_dict"])]
    if saved["optimizer"] is not None:  # a trainer that saves by itself may have it elsewhere
        pairs += [(checkpoint.get_state(trainer.optimizer), saved["optimizer"])]
    for memory, file in pairs:
        if first_difference(checkpoint.to_plain(memory), file):
            raise UserError(f"{path}: what was read back differs from what was written")
    return f"{path.stat().st_size / 1e6:.1f} MB, read back and equal"


def first_batch(data_loader):
    """The seconds that a batch takes, once the loader is warm, and the first one."""
    batches = iter(data_loader)
    first = next(batches)
    start = time.perf_counter()
    next(batches, None)
    return time.perf_counter() - start, first


def seconds_of_step(trainer, batch, n=5):
    """The mean of a few training steps once everything is warm, a validation batch included."""
    use(trainer, Batches([batch] * n, trainer.data_loader.loader), n)
    start = time.perf_counter()
    trainer._train_epoch(2)
    return (time.perf_counter() - start) / n


def compare_workers(trainer, loader):
    """What a training step and its batch take with the workers of the loader, and without."""
    n_workers = getattr(loader, "num_workers", 0)
    if n_workers == 0 or not hasattr(trainer, "_batches"):  # a loop that is not known
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


def ms_of_step(trainer, loader, n_fetched, n=6):
    """The mean of `n` steps with their batches, after those that workers fetch at their start."""
    use(trainer, loader, n_fetched + 1 + n)
    trainer.do_validation, times = False, []
    trainer._after_step = lambda: times.append(time.perf_counter())
    trainer._train_epoch(3)
    return 1000 * (time.perf_counter() - times[n_fetched]) / n


def peak_memory(device):
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 1e6:,.0f} MB on the GPU at most"
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return "unknown"
    return f"{getrusage(RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB at most"


def describe(batch):
    """Types and shapes of the tensors in a batch."""
    if isinstance(batch, torch.Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
    if isinstance(batch, dict):
        return "{" + ", ".join(f"{key}: {describe(value)}" for key, value in batch.items()) + "}"
    if isinstance(batch, (list, tuple)):
        return ", ".join(map(describe, batch))
    return type(batch).__name__
