"""Signals to stop: the loop asks for them, so that a run ends between two steps."""

import signal
import threading
from collections.abc import Callable
from multiprocessing import active_children
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # the last is sent by SLURM, where it is told to
NUMBERS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]  # Windows has two


class StopSignals:
    """While entered, remembers a signal to stop until the loop asks; a second SIGINT is at once."""

    received = 0  # the number of the signal

    def __enter__(self) -> "StopSignals":
        self.received = 0
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            self._before = {number: signal.signal(number, self._remember) for number in NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT == self.received:
            raise KeyboardInterrupt
        self.received = number


def start_worker(worker_init_fn: Callable | None, worker: int) -> None:
    """In a worker, before its first batch: the main process alone says when it ends."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
    from torch.utils.data import get_worker_info

    info: Any = get_worker_info()
    object.__setattr__(info, "dataset", info.dataset.dataset)  # as `worker_init_fn` expects it
    if worker_init_fn is not None:
        worker_init_fn(worker)


def end_workers() -> None:
    """Before Python ends workers by SIGTERM, which they ignore, and waits for them."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # that of DataLoader would raise an error
    for worker in active_children():
        if worker.daemon:
            worker.kill()
