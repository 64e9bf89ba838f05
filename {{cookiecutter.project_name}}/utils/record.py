"""The directory of a run, and what the run was made with, for whoever wants to repeat it."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from errno import EEXIST

from utils import distributed
from utils.files import PROJECT_DIR, atomic_write, read_json, write_json

NAME = "environment.json"


def make_run_dir(parent, run_id=None):
    """A new folder below `parent`, called by the time where no name is given."""
    now = datetime.now().strftime("%Y%m%d_%H%M%S")
    names = [now, *(f"{now}_{n}" for n in range(1, 1000))] if run_id is None else [run_id]
    for name in names:
        with suppress(FileExistsError):  # making it is the test: two that start at once get two
            (parent / name).mkdir(parents=True, exist_ok=name == "")
            return parent / name
    raise FileExistsError(EEXIST, f"{name} is there already")


def discard(run_dir):
    """Remove a run directory again where nothing has been written to it."""
    with suppress(OSError):  # also where another process has removed it
        for folder in (run_dir, *run_dir.parents[:2]):
            folder.rmdir()  # only ever an empty one


def record_start(run_dir, device):
    """Add this start to environment.json, and what git does not have yet to a .diff beside it."""
    import numpy
    import torch

    path = run_dir / NAME
    starts = read_json(path) if path.exists() else []
    commit, changes = _git("rev-parse", "HEAD"), _git("diff", "HEAD")
    start = {
        "time": _now(),
        "host": platform.node(),
        "pid": os.getpid(),
        "command": [sys.executable, *sys.argv],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "device": str(device),
        "torchrun": distributed.launch(),
        "git_commit": commit and commit.strip(),
        "git_dirty": bool(_git("status", "--porcelain")),
    }
    if changes:
        start["git_diff"] = f"uncommitted{len(starts) + 1}.diff"
        with atomic_write(run_dir / start["git_diff"]) as file:
            file.write(changes)
    write_json([*starts, start], path)


def record_end(run_dir, how):
    """Say in environment.json how the newest start ended; where that is missing, it was killed."""
    path = run_dir / NAME
    *before, start = read_json(path)
    write_json([*before, start | {"ended": _now(), "how": how}], path)


def _now():
    return datetime.now().astimezone().isoformat(timespec="seconds")


def runs_of(launch, folder):
    """The run directories in `folder` that were last begun or gone on with in this launch."""
    paths = folder.glob(f"*/{NAME}")
    return [path.parent for path in paths if read_json(path)[-1].get("torchrun") == launch]


def _git(*args):
    """The output of git in the project's folder; None without git or a repository."""
    try:
        command = ["git", "-C", str(PROJECT_DIR), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError):
        return None
