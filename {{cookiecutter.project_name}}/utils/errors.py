import re
import sys
from contextlib import contextmanager
from time import sleep

from utils import distributed


class UserError(ValueError):
    """A mistake that the user can mend: the scripts print its message alone and exit with 2."""

    status = 2


class NotFinite(ArithmeticError):
    """A loss or a gradient is infinite or not a number; the optimizer has not stepped."""


class RunError(UserError):
    """What ended a run that was well begun: one line, in train.log too once it `is_shown`."""

    def __init__(self, message, status=1, is_shown=False):
        super().__init__(message)
        self.status = status
        self.is_shown = is_shown


@contextmanager
def exit_on_user_error():
    try:
        yield
    except UserError as error:
        if not getattr(error, "is_shown", False) and distributed.speaks(str(error)):
            print(distributed.speaker() + str(error), file=sys.stderr)
        sys.exit(error.status)


def explain(error):
    """One line for trouble that is not the code's: memory, files, killed workers; else None."""
    message = str(error).strip()
    last_line = message.rpartition("\n")[2]  # of an error in a worker, which brings its traceback
    if isinstance(error, MemoryError) or "out of memory" in message or "allocate memory" in message:
        return "out of memory: a smaller data_loader.args.batch_size takes less"
    if isinstance(error, OSError):
        return last_line
    if isinstance(error, RunError):
        return message
    if "Connection closed by peer" in message:
        return "another process has ended; its own message says why"
    if "find_unused_parameters=True" in message:
        return "parameters took no part in a step; parallel.find_unused_parameters=true allows it"
    for one in (message, str(error.__context__)):  # torch may stumble over it when it cleans up
        if re.match(r"DataLoader worker \(pid.*\) (is killed|exited)", one):
            return f"a worker of the data loader died, perhaps for want of memory: {one.strip()}"
    return None


def cause_of(error):
    """The death of a worker, where `error` came of it just before DataLoader's signal tells it."""
    if isinstance(error, (ConnectionError, EOFError)):  # as it handed over a batch
        try:
            sleep(3)
        except RuntimeError as death:
            return death
    return error
