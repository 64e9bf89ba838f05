"""One line for what ends a run and is not the code's fault: memory, files, killed workers."""

import re
from time import sleep

from base import BaseTrainer, Callback
from utils.errors import RunError, UserError

EXPLANATIONS = {  # of errors, by what they say
    "MemoryError|out of memory|allocate memory": "out of memory: take a smaller batch_size",
    "Connection closed by peer": "another process has ended; its own message says why",
    "unused_parameters=True": "unused parameters: parallel.find_unused_parameters=true allows it",
    "device-side assert": "a class or an index is out of range: -d cpu shows where",
    r"DataLoader worker \(pid.* (is killed|exited)": (
        "a data loader's worker died, as where memory is short"
    ),
}


class Explain(Callback):
    """Says what an error means, in place of its traceback."""

    def on_error(self, trainer: BaseTrainer, error: Exception) -> RunError | None:
        meaning = None if isinstance(error, UserError) else explain(error)
        return None if meaning is None else RunError(meaning)


def explain(error: BaseException) -> str | None:
    """What an error means, as far as that is known; for one of files, what it says."""
    if isinstance(error, (ConnectionError, EOFError)):  # of a worker that has just died
        try:
            sleep(3)
        except RuntimeError as death:  # which DataLoader's signal handler tells
            error = death
    message = f"{type(error).__name__}: {error}: {error.__context__}"
    for pattern, meaning in EXPLANATIONS.items():
        if re.search(pattern, message):
            return meaning
    # An error in a worker brings its traceback
    return str(error).strip().rpartition("\n")[2] if isinstance(error, OSError) else None
