"""What a run was made with, for whoever wants to repeat it."""

import os
import platform
import subprocess
import sys
from datetime import datetime

from utils import distributed
from utils.files import PROJECT_DIR, atomic_write, read_json, write_json

NAME = "environment.json"


def record_start(run_dir, device, packages=("torch", "numpy")):
    """Add this start to environment.json, and what git does not have yet to a .diff beside it."""
    path = run_dir / NAME
    starts = read_json(path) if path.exists() else []
    commit, changes = _git("rev-parse", "HEAD"), _git("diff", "HEAD")
    start = {
        "time": _now(),
        "host": platform.node(),
        "pid": os.getpid(),
        "command": [sys.executable, *sys.argv],
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
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


def _version(package):
    from importlib.metadata import PackageNotFoundError, version  # takes longer than --help

    try:
        return version(package)
    except PackageNotFoundError:
        return None
