"""Checkpoints that are written while training goes on."""

import copy
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import torch

from utils import checkpoint


class BackgroundSaver:
    """Saves from a thread of its own: training waits for a copy in memory, not for the disk.

    The state of `optimizers`, most of what there is to copy, stays as it is up to their next step.
    So it is copied while training goes on, and that step waits for the end of it. The memory for
    the copies is kept for the next ones.
    """

    def __init__(self, *optimizers):
        self._buffers = {}
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._copiers = ThreadPoolExecutor(4, "copy")
        self._writing = None
        self._is_copied = Event()
        self._is_copied.set()
        self._may_be_late = bool(optimizers)
        for optimizer in optimizers:
            if hasattr(optimizer, "register_step_pre_hook"):
                optimizer.register_step_pre_hook(self._wait_for_copies)
            else:
                self._may_be_late = False

    def save(self, state, *paths, then=None):
        """Begin to write `state` to all `paths`, and call `then` when it is done."""
        self.wait()
        now, late = [], []
        state = self._with_buffers(checkpoint.to_plain(state), (), now, late)
        self._copy(now)
        self._is_copied.clear()
        self._writing = self._thread.submit(self._write, late, state, paths, then)

    def _wait_for_copies(self, *_):
        self._is_copied.wait()

    def wait(self):
        if self._writing is not None:
            futures.wait([self._writing])  # a signal may break in: then it is still being written
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, late, state, paths, then):
        try:
            self._copy(late)
        finally:
            self._is_copied.set()
        checkpoint.save(state, *paths)
        if then is not None:
            then()

    def _with_buffers(self, value, path, now, late):
        """`value` with a buffer for each tensor; what to copy to where joins `now` or `late`."""
        if isinstance(value, dict):
            plain = copy.copy(value)
            plain |= {k: self._with_buffers(one, (*path, k), now, late) for k, one in value.items()}
            return plain
        if isinstance(value, (list, tuple)):
            parts = enumerate(value)
            return type(value)(self._with_buffers(one, (*path, i), now, late) for i, one in parts)
        if not isinstance(value, torch.Tensor):
            return value
        buffer = self._buffers.get(path)
        if buffer is None or (buffer.shape, buffer.dtype) != (value.shape, value.dtype):
            pin = value.is_cuda and value.layout == torch.strided
            buffer = torch.empty_like(value, device="cpu", pin_memory=pin)
            self._buffers[path] = buffer
        is_late = self._may_be_late and path[0] == "optimizer" and "state" in path and value.is_cpu
        (late if is_late else now).append((buffer, value.detach()))
        return buffer

    def _copy(self, copies):
        """Fill the buffers: from GPUs all at once, from memory with several threads.

        One thread alone cannot use all of the memory's bandwidth, and torch's own threads wait for
        each other at every tensor, which takes long where other programs keep the cores busy.
        """
        for buffer, tensor in copies:
            if not tensor.is_cpu:
                buffer.copy_(tensor, non_blocking=tensor.is_cuda)
        on_cpu = [pair for pair in copies if pair[1].is_cpu]
        list(self._copiers.map(lambda pair: pair[0].copy_(pair[1]), on_cpu))
        for device in {tensor.device for _, tensor in copies if tensor.is_cuda}:
            torch.cuda.synchronize(device)
