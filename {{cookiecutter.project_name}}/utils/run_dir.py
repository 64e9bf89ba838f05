"""The directory of a run."""

from contextlib import suppress
from datetime import datetime
from errno import EEXIST

from utils.files import read_json


def make_run_dir(parent, run_id=None):
    """A new folder below `parent`, called by the time where no name is given."""
    now = datetime.now().strftime("%Y%m%d_%H%M%S")
    names = [now, *(f"{now}_{n}" for n in range(1, 1000))] if run_id is None else [run_id]
    for name in names:
        with suppress(FileExistsError):  # making it is the test: two that start at once get two
            (parent / name).mkdir(parents=True, exist_ok=name == "")
            return parent / name
    raise FileExistsError(EEXIST, f"{name} is there already")


def is_run(folder):
    """Whether a folder is that of a run, and not just one where a checkpoint happens to be."""
    with suppress(OSError, ValueError, TypeError):
        return "trainer" in read_json(folder / "config.json")
    return False


def discard(run_dir):
    """Remove a run directory again where nothing has been written to it."""
    with suppress(OSError):  # also where another process has removed it
        for folder in (run_dir, *run_dir.parents[:2]):
            folder.rmdir()  # only ever an empty one
