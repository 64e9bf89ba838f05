"""What ended a run, in one line where it is not the code's own fault: memory, files, workers."""

import re
from time import sleep


def explain(error: BaseException) -> str | None:
    """One line for trouble that is not the code's: memory, files, killed workers; else None."""
    message = str(error).strip()
    last_line = message.rpartition("\n")[2]  # of an error in a worker, which brings its traceback
    if isinstance(error, MemoryError) or "out of memory" in message or "allocate memory" in message:
        return "out of memory: a smaller data_loader.args.batch_size takes less"
    if isinstance(error, OSError):
        return last_line
    if "Connection closed by peer" in message:
        return "another process has ended; its own message says why"
    if "find_unused_parameters=True" in message:
        return "parameters took no part in a step; parallel.find_unused_parameters=true allows it"
    if "more than 1 value per channel" in message:
        return "batch norm needs two samples in a batch; data_loader.args.drop_last=true may help"
    for one in (message, str(error.__context__)):  # torch may stumble over it when it cleans up
        if re.match(r"DataLoader worker \(pid.*\) (is killed|exited)", one):
            return f"a worker of the data loader died, perhaps for want of memory: {one.strip()}"
    return None


def cause_of(error: Exception) -> Exception:
    """The death of a worker, where `error` came of it just before DataLoader's signal tells it."""
    if isinstance(error, (ConnectionError, EOFError)):  # as it handed over a batch
        try:
            sleep(3)
        except RuntimeError as death:
            return death
    return error
