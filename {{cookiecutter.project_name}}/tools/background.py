"""Checkpoints that are written while training goes on: it waits for a copy in memory alone."""

import copy
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import torch

from base import BaseTrainer, Callback
from utils import checkpoint, distributed


class Background(Callback):
    """Lets a trainer save so, unless something else has given it a saver of its own."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        if trainer.saver is checkpoint:
            trainer.saver = BackgroundSaver()


class BackgroundSaver:
    """Saves from threads of its own. The memory for the copy is kept for the next one."""

    n_threads = 4  # that copy; one of them writes

    def __init__(self) -> None:
        self._buffers: dict[tuple, torch.Tensor] = {}
        self._threads = ThreadPoolExecutor(self.n_threads, "checkpoint")
        self._writing: Future | None = None
        # All threads start here, as a worker of the data loader that dies later raises an error at
        # any point of this thread: within the start of another that would leave a traceback
        all_started = Barrier(self.n_threads, timeout=60)
        with suppress(BrokenBarrierError):  # a starved machine: the others start later
            list(self._threads.map(lambda _: all_started.wait(), range(self.n_threads)))

    def save(self, state: Any, *paths: Path, then: Callable[[], None] = lambda: None) -> None:
        """Begin to write `state` to all `paths`, and call `then` when it is done."""
        if not distributed.is_main():
            return
        self.wait()
        copies: list[tuple[torch.Tensor, torch.Tensor]] = []
        state = self._with_buffers(checkpoint.to_plain(state), (), copies)
        # One thread cannot use all of the memory's bandwidth, and torch's own threads wait for each
        # other at every tensor, which takes long where other programs keep the cores busy
        list(self._threads.map(lambda pair: pair[0].copy_(pair[1], non_blocking=True), copies))
        for device in {tensor.device for _, tensor in copies if tensor.is_cuda}:
            torch.cuda.synchronize(device)
        self._writing = self._threads.submit(checkpoint.save, state, *paths, then=then)

    def wait(self) -> None:
        """Until the last save is complete; raises what went wrong with it."""
        if self._writing is not None:
            futures.wait([self._writing])  # a signal may break in: then it is still being written
            writing, self._writing = self._writing, None
            writing.result()

    def _with_buffers(self, value: Any, path: tuple, copies: list) -> Any:
        """`value` with a buffer for each tensor; `copies` gets the pairs of buffer and tensor."""
        if isinstance(value, dict):
            plain = copy.copy(value)  # keeps the `_metadata` of a state_dict
            for key, one in value.items():
                plain[key] = self._with_buffers(one, (*path, key), copies)
            return plain
        if isinstance(value, (list, tuple)):
            parts = enumerate(value)
            return type(value)(self._with_buffers(one, (*path, i), copies) for i, one in parts)
        if not isinstance(value, torch.Tensor):
            return value
        buffer = self._buffers.get(path)
        if buffer is None or (buffer.shape, buffer.dtype) != (value.shape, value.dtype):
            pin = value.is_cuda and value.layout == torch.strided
            buffer = self._buffers[path] = torch.empty_like(value, device="cpu", pin_memory=pin)
        copies.append((buffer, value.detach()))
        return buffer
