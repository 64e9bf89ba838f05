"""Checkpoints that are written while training goes on."""

import copy
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from utils import checkpoint, distributed


class BackgroundSaver:
    """Saves from a thread of its own: training waits for a copy in memory, not for the disk.

    The memory for the copy is kept for the next one.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple, torch.Tensor] = {}
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._copiers = ThreadPoolExecutor(4, "copy")
        self._writing: Future | None = None

    def save(self, state: Any, *paths: Path, then: Any = None) -> None:
        """Begin to write `state` to all `paths`, and call `then` when it is done.

        Of several processes the main one writes.
        """
        if not distributed.is_main():
            return
        self.wait()
        copies: list[tuple[torch.Tensor, torch.Tensor]] = []
        state = self._with_buffers(checkpoint.to_plain(state), (), copies)
        # One thread cannot use all of the memory's bandwidth, and torch's own threads wait for each
        # other at every tensor, which takes long where other programs keep the cores busy
        list(self._copiers.map(lambda pair: pair[0].copy_(pair[1], non_blocking=True), copies))
        for device in {tensor.device for _, tensor in copies if tensor.is_cuda}:
            torch.cuda.synchronize(device)
        self._writing = self._thread.submit(self._write, state, paths, then)

    def load(self, path: Path) -> checkpoint.State:
        """The state in a checkpoint, on the CPU; the counterpart of `save`."""
        return checkpoint.load(path)

    def wait(self) -> None:
        """Until the last save is complete; raises what went wrong with it."""
        if self._writing is not None:
            futures.wait([self._writing])  # a signal may break in: then it is still being written
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, state: Any, paths: tuple[Path, ...], then: Any) -> None:
        checkpoint.save(state, *paths)
        if then is not None:
            with suppress(OSError):  # an old checkpoint that cannot be deleted ends no run
                then()

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
