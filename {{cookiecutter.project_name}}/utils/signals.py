"""Signals to stop: the loop asks for them, so that a run ends between two steps."""

import atexit
import signal
import threading
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


def ignore_stop_signals(*_: Any) -> None:
    """For workers, which get the signals of their group: the main process says when they end."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def end_workers() -> None:
    """Before Python ends workers by SIGTERM, which they ignore, and waits for them."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # that of DataLoader would raise an error
    for worker in active_children():
        if worker.daemon:
            worker.kill()


def end_workers_at_exit() -> None:
    """Let Python end though workers ignore signals."""
    atexit.register(end_workers)
