"""What the scripts have in common: arguments, signals to stop, one line for what ends them."""

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from time import sleep
from types import FrameType
from typing import Any, NoReturn

from utils import distributed
from utils.errors import UserError, in_full
from utils.extras import FLAGS


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print the message of a UserError as one line and exit with its status."""
    try:
        yield
    except UserError as error:
        if not error.is_shown:
            if not distributed.is_main():
                sleep(3)  # torchrun ends it meanwhile, if the main process has told the same
            print(distributed.speaker() + str(error), file=sys.stderr)
        sys.exit(error.status)
    except BrokenPipeError:  # as of `| head`; else Python's own end would tell it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "numpy"):
            raise
        sys.stderr.write(f"{sys.executable} has no {error.name}: pip install -r requirements.txt\n")
        sys.exit(2)


class CommandLine(argparse.ArgumentParser):
    """The arguments of a script, which `doc` explains; a mistake in them is one line."""

    def __init__(self, doc: str | None) -> None:
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        is_extra = not {*re.split("[ =]", message)}.isdisjoint(FLAGS)
        hint = in_full() if is_extra else "--help lists what there is"
        raise UserError(f"command line: {message}; {hint}")


NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # of a closed terminal; of SLURM, if told to
NUMBERS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]  # Windows has two


class StopSignals:
    """While entered, remembers a signal to stop until the loop asks; a second SIGINT is at once."""

    received = 0  # the number of the signal

    def __enter__(self) -> "StopSignals":
        self.received = 0
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            heard = [n for n in NUMBERS if signal.getsignal(n) != signal.SIG_IGN]  # as by nohup
            self._before = {number: signal.signal(number, self._remember) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
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


def let_workers_die() -> None:
    """From here on the death of a worker raises no error, as DataLoader's signal does anywhere."""
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def end_workers() -> None:
    """Before Python ends workers by SIGTERM, which they ignore, and waits for them."""
    let_workers_die()
    for worker in active_children():
        if worker.daemon:
            worker.kill()
