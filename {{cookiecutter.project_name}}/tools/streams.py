"""What a BaseDataLoader does with a stream, an IterableDataset.

Workers and processes share it, as the stream itself says who reads what, and a pass goes on where
it was interrupted: each worker's state goes with its batches.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from hashlib import blake2b
from io import BytesIO
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from base import BaseTrainer, Callback
from base.sampler import derive_seed
from utils import distributed
from utils.errors import UserError
from utils.seed import preserved_random_state, seed_cpu

START = {"batches": 0, "state": None, "is_done": False}  # of a reader
logger = logging.getLogger("train")


def stream_passes(loader: Any, is_fixed: bool, options: dict[str, Any]) -> Any:
    """The passes of a BaseDataLoader: those of validation `is_fixed`, so that all are the same."""
    reader = Reader(loader.dataset, loader.batch_size, loader.drop_last, loader.collate_fn)
    return StreamPasses(reader, is_fixed, options)


class Streams(Callback):
    """Tells a stream that has no end how long an epoch is."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        passes = getattr(getattr(trainer, "data_loader", None), "_passes", None)
        if isinstance(passes, StreamPasses) and not trainer.epoch_is_pass:
            passes.len_epoch = getattr(trainer, "len_epoch", 0)


class Reader(IterableDataset):
    """What a worker does: batches of its part of a stream, each with where the stream is after it.

    What is random about a batch is a function of (seed, epoch, rank, worker, number of the batch).
    """

    def __init__(self, dataset: Any, batch_size: int, drop_last: bool, collate: Callable) -> None:
        self.dataset, self.batch_size, self.collate = dataset, batch_size, collate
        self.name = f"data_loader: {type(dataset).__name__}"
        self.n_least = batch_size if drop_last else 1
        self.state: dict[str, Any] = {}  # of the pass

    def __iter__(self) -> Iterator[tuple[int, Any, int, dict[str, Any]]]:
        worker: Any = get_worker_info()
        who, n = worker.id if worker else 0, self.batch_size
        seed, epoch, position = self.state["seed"], self.state["epoch"], self.state["readers"][who]
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)
        if position["state"] is not None:
            self.dataset.load_state_dict(position["state"])
        samples = iter(() if position["is_done"] else self.dataset)
        while n == self.batch_size:
            with nullcontext() if worker else preserved_random_state():
                seed_cpu(derive_seed(seed, epoch, distributed.rank(), who, position["batches"]))
                try:
                    batch = [*islice(samples, n)]
                except (OSError, ValueError) as error:
                    if type(error) in (ValueError, UserError):
                        raise  # the stream's own; a library's is about what it reads
                    where = f"worker {who} of process {distributed.rank()}"
                    what = f"after its batch {position['batches']}: {type(error).__name__}: {error}"
                    raise UserError(f"{self.name}: {where}, {what}") from error
            if (n := len(batch)) >= self.n_least:
                is_done = n < self.batch_size  # its state may be that of a start already
                has_state = hasattr(self.dataset, "state_dict") and not is_done
                state = deepcopy(self.dataset.state_dict()) if has_state else None
                position = {"batches": position["batches"] + 1, "state": state, "is_done": is_done}
                yield who, self.collate(batch), n, position
        yield who, None, 0, position | {"state": None, "is_done": True}


class StreamPasses:
    """The batches of all readers in turn; exactly resumed, where the stream has a state.

    Workers are started for each pass: those of before would not see what the stream is told. Where
    the readers of a process have no batch left, it gets that of another, which counts for 0 there.
    """

    def __init__(self, reader: Reader, is_fixed: bool, options: dict[str, Any]) -> None:
        self.reader, self.is_fixed = reader, is_fixed
        self.name = reader.name
        self.has_state = hasattr(reader.dataset, "load_state_dict")
        options = options | {"persistent_workers": False, "collate_fn": as_it_is}
        self.loader = DataLoader(reader, batch_size=None, **options)
        self.len_epoch = 0  # batches of an epoch, where it is not a pass
        self.set_epoch(seed=0, epoch=0)
        if not (self.has_state or is_fixed):
            logger.warning("%s has no state_dict: a resumed pass starts again", self.name)

    def set_epoch(self, seed: int, epoch: int) -> None:
        """Let the next pass be this one, from its start."""
        self.next: dict[str, Any] = {"seed": seed, "epoch": epoch, "samples": 0, "turn": 0}
        self.next["readers"] = [START] * max(1, self.loader.num_workers)
        self.position: dict[str, Any] = self.next

    def state_dict(self) -> dict[str, Any]:
        """How much of which pass was given out."""
        return deepcopy(self.position)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass be the rest of this one; UserError for another number of workers."""
        if (n := len(state["readers"])) != len(self.next["readers"]):
            raise UserError(f"{self.name}: the checkpoint is of num_workers = {n}: take as many")
        self.set_epoch(state["seed"], state["epoch"])
        if self.has_state:
            self.position = self.next = state
        elif n := state["samples"]:
            logger.warning("%s has no state_dict: %d samples of its pass come again", self.name, n)

    def __iter__(self) -> Iterator[tuple[Any, int, float, dict[str, Any]]]:
        """Each batch, its samples here and in a process on average, and how much is given out."""
        state = self.next | {"readers": [*self.next["readers"]]}
        self.set_epoch(state["seed"], state["epoch"] + (not self.is_fixed))
        self.position = self.reader.state = state
        n_processes = 1 if self.is_fixed else distributed.world_size()
        own, step = self._own(state), 0
        while True:
            batch, n = next(own, (None, 0))
            mean = n if n_processes == 1 else distributed.all_reduce(n) / n_processes
            if mean == 0:
                n_own = sum(position["batches"] for position in state["readers"])
                self._compare(n_own if n_processes == 1 else max(distributed.all_gather(n_own)))
                return
            if n_processes > 1 and (step == 0 or distributed.all_reduce(n == 0) > 0):
                batches = distributed.all_gather(batch)
                if step == 0:
                    self._refuse_copies([digest(one) for one in batches if one is not None])
                batch = batch if n else next(one for one in batches if one is not None)
            state["samples"] += round(mean * n_processes)
            step += 1
            yield batch, n, mean, state

    def _own(self, state: dict[str, Any]) -> Iterator[tuple[Any, int]]:
        """The batches of the readers of this process, and what is in each."""
        readers, firsts = state["readers"], []
        waiting: list[deque] = [deque() for _ in readers]  # batches that came before their turn
        items = iter(self.loader)
        while not all(position["is_done"] for position in readers):
            who = state["turn"]
            state["turn"] = (who + 1) % len(readers)
            if readers[who]["is_done"]:
                continue
            while not waiting[who]:
                other, *item = next(items)
                waiting[other].append(item)
            batch, n, readers[who] = waiting[who].popleft()
            if readers[who]["batches"] == 0 and not self.is_fixed:
                n_all = f"{distributed.world_size()} processes x {len(readers)} workers"
                raise UserError(
                    f"{self.name}: no batch for worker {who} of {n_all}: too few shards"
                )
            if n and readers[who]["batches"] == 1:
                firsts.append(digest(batch))
                self._refuse_copies(firsts)
            if n:
                yield batch, n

    def _compare(self, n: int) -> None:
        """Say once where a pass has fewer than an epoch is to have."""
        if 0 < n < self.len_epoch:
            line = "%s: ended after %d batches, before trainer.len_epoch = %d: it begins again"
            logger.warning(line, self.name, n, self.len_epoch)
            self.len_epoch = 0

    def _refuse_copies(self, digests: list[bytes]) -> None:
        """Raises UserError where two readers have begun with the same batch."""
        if len({*digests}) < len(digests):
            how = "torch.utils.data.get_worker_info and utils.distributed.rank say which is whose"
            raise UserError(f"{self.name}: two workers or processes read the same samples: {how}")


def digest(batch: Any) -> bytes:
    """Few bytes that change with a batch."""
    torch.save(batch, file := BytesIO())
    return blake2b(file.getvalue()).digest()


def as_it_is(item: Any) -> Any:
    return item
