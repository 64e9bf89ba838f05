import signal
import threading

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # the last is sent by SLURM, where it is told to
NUMBERS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]  # Windows has two


class StopSignals:
    """While entered, remembers a signal to stop until the loop asks; a second SIGINT is at once."""

    def __init__(self):
        self.received = 0  # the number of the signal

    def __enter__(self):
        self.received, self._before = 0, {}
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            for number in NUMBERS:
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number, frame):
        if number == signal.SIGINT == self.received:
            raise KeyboardInterrupt
        self.received = number


def ignore_stop_signals(*_):
    """For workers, which get the signals of their group: the main process says when they end."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
