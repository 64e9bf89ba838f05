"""The directory of a run, the names of the files in it, and whether a process works on it."""

import os
from contextlib import suppress
from datetime import datetime
from errno import EEXIST
from pathlib import Path

from utils.files import read_json

EPOCH_NAME = "checkpoint-epoch{}.pth"
BEST_NAME = "model_best.pth"
LAST_NAME = "last.pth"
LAUNCH_NAME = ".torchrun"  # the launch of torchrun that works on a run


def make_run_dir(parent: Path, run_id: str | None = None) -> Path:
    """A new folder below `parent`, called by the time where no name is given.

    Raises FileExistsError where a folder of that name is there.
    """
    now = datetime.now().strftime("%Y%m%d_%H%M%S")
    names = [now, *(f"{now}_{n}" for n in range(1, 1000))] if run_id is None else [run_id]
    for name in names:
        with suppress(FileExistsError):  # making it is the test: two that start at once get two
            (parent / name).mkdir(parents=True, exist_ok=name == "")
            return parent / name
    raise FileExistsError(EEXIST, f"{name} is there already")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, and not just one where a checkpoint happens to be."""
    with suppress(OSError, ValueError, TypeError):
        is_project = (folder / "train.py").exists()  # which has a config.json too
        return not is_project and "trainer" in read_json(folder / "config.json")
    return False


def discard(run_dir: Path, with_files: bool = False) -> None:
    """Remove a run directory again where nothing has been written to it, or files alone."""
    with suppress(OSError):  # also where another process has removed it
        for file in run_dir.iterdir() if with_files else ():
            file.unlink()
        for folder in (run_dir, *run_dir.parents[:2]):
            folder.rmdir()  # only ever an empty one


def is_alive(pid: int, started: str) -> bool:
    """Whether a process of this machine is there that may have had this number at that time."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with suppress(OSError):  # Linux says when it began: a later one has got the number anew
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/stat").read_text().partition("btime ")[2].split()[0]
        began = int(boot) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return fields[0] != "Z" and began <= datetime.fromisoformat(started).timestamp() + 2
    return True
