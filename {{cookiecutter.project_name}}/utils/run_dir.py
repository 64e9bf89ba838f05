"""The directory of a run, the names of the files in it, and whether a process works on it.

A directory with the file `.run` is that of a run. In no other one is a file overwritten or deleted.
"""

import os
from contextlib import suppress
from datetime import datetime
from errno import EEXIST
from pathlib import Path
from typing import Any

from utils.files import read_json

EPOCH_NAME = "checkpoint-epoch{}.pth"
BEST_NAME = "model_best.pth"
LAST_NAME = "last.pth"
MARK_NAME = ".run"  # makes a directory that of a run
RECORD_NAME = "environment.json"  # where tools/record.py notes each start
RUN_ID = "%Y%m%d_%H%M%S"


def make_run_dir(parent: Path, run_id: str | None = None) -> Path:
    """A new folder below `parent`, called by the time where no name is given.

    Raises FileExistsError where a folder of that name is there.
    """
    now = datetime.now().strftime(RUN_ID)
    names = [now, *(f"{now}_{n}" for n in range(1, 1000))] if run_id is None else [run_id]
    for name in names:
        with suppress(FileExistsError):  # making it is the test: two that start at once get two
            folder = parent / name
            is_free = not (folder / "config.json").exists() or is_run(folder)
            folder.mkdir(parents=True, exist_ok=name == "" and is_free)
            return folder
    raise FileExistsError(EEXIST, f"{name or 'config.json'} is there already")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, and not just one where a checkpoint happens to be."""
    if (folder / MARK_NAME).exists():
        return True
    with suppress(OSError, ValueError, TypeError, KeyError):  # older versions have not marked it
        config = read_json(folder / "config.json")
        has_record = any((folder / name).exists() for name in ("metrics.csv", RECORD_NAME))
        is_project = (folder / "train.py").exists()
        is_in_place = folder.resolve().parent.name == Path(config["name"]).name
        return has_record and is_in_place and "trainer" in config and not is_project
    return False


def read_starts(run_dir: Path) -> list[dict[str, Any]]:
    """What environment.json says of each process that has worked on the run, the newest last."""
    path = run_dir / RECORD_NAME
    starts = read_json(path) if path.exists() else []
    return starts if isinstance(starts, list) else [starts]  # one alone in older versions


def last_start(run_dir: Path) -> float:
    """When a run was last begun or gone on with: by its record, else by its name, else 0."""
    with suppress(OSError, ValueError, TypeError, KeyError, IndexError):
        return datetime.fromisoformat(read_starts(run_dir)[-1]["time"]).timestamp()
    with suppress(ValueError):
        return datetime.strptime(run_dir.name[:15], RUN_ID).timestamp()
    return 0


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
