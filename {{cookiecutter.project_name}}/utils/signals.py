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

    def __init__(self) -> None:
        self.received = 0  # the number of the signal
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        self.received, self._before = 0, {}
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            for number in NUMBERS:
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT == self.received:
            raise KeyboardInterrupt
        self.received = number


def ignore_stop_signals(*_: object) -> None:
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


def end_workers_quietly() -> None:
    """Let the workers of data loaders end without a word: whoever asks for a batch tells why."""
    atexit.register(end_workers)
    before = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        is_broken = isinstance(args.exc_value, (ConnectionError, EOFError))
        if not (is_broken and "_pin_memory_loop" in getattr(args.thread, "name", "")):
            before(args)

    if "end_workers_quietly" not in getattr(before, "__qualname__", ""):
        threading.excepthook = hook
