"""What a run was made with, for whoever wants to repeat it: environment.json in its directory.

report.py reads there whether a run is still going on. times.csv beside it has the
seconds of each epoch, so that metrics.csv is the same whenever the run is repeated.
"""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch

from base import BaseTrainer, Callback
from logger import add_row
from tools.history import NAME, is_alive, read_starts
from utils import distributed
from utils.errors import as_warning
from utils.files import PROJECT_DIR, atomic_write, write_json


class Record(Callback):
    """Writes environment.json and times.csv."""

    def on_train_start(self, trainer: BaseTrainer) -> None:
        self.began = monotonic()
        if distributed.is_main():
            with as_warning(trainer.logger, f"{NAME} is not written"):
                found = (one.changes for one in trainer.callbacks if hasattr(one, "changes"))
                record_start(trainer.checkpoint_dir, trainer.device, next(found, {}))

    def on_epoch_end(self, trainer: BaseTrainer, log: dict[str, Any]) -> None:
        if distributed.is_main():
            seconds, self.began = monotonic() - self.began, monotonic()
            with as_warning(trainer.logger, "times.csv is not written"):
                row = {"epoch": log["epoch"], "seconds": round(seconds, 3)}
                add_row(trainer.checkpoint_dir / "times.csv", row)

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        if distributed.is_main():
            with as_warning(trainer.logger, f"{NAME} does not say how the run ended"):
                record_end(trainer.checkpoint_dir, outcome)


def other_process(run_dir: Path) -> int | None:
    """The id of another process of this machine that trains the run now; None if there is none."""
    with suppress(OSError, ValueError, KeyError, IndexError):  # nothing that could be read
        start = read_starts(run_dir)[-1]
        is_here = start["host"] == platform.node() and os.name == "posix"
        is_over = "how" in start or start["pid"] == os.getpid()
        if is_here and not is_over and is_alive(start["pid"], start["time"]):
            return start["pid"]
    return None


def record_start(run_dir: Path, device: torch.device, changes: dict[Any, Any]) -> None:
    """Add this start to environment.json, and what git does not have yet to a .diff beside it.

    `changes` of the config since the checkpoint map paths to (old, new).
    """
    starts = read_starts(run_dir)
    is_tracked = _git("ls-files", "--error-unmatch", "train.py") is not None  # not just enclosed
    commit = _git("rev-parse", "HEAD") if is_tracked else None
    diff = _git("diff", "HEAD") if is_tracked else None
    start: dict[str, Any] = {
        "time": _now(),
        "host": platform.node(),
        "pid": os.getpid(),
        "command": [sys.executable, *sys.argv],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": str(device),
        "changes": {".".join(path): values for path, values in changes.items()},
        "torchrun": os.environ.get("TORCHELASTIC_RUN_ID"),
        "git_commit": commit and commit.strip(),
        "git_dirty": is_tracked and bool(_git("status", "--porcelain")),
    }
    if diff:
        start["git_diff"] = f"uncommitted{len(starts) + 1}.diff"
        with atomic_write(run_dir / start["git_diff"]) as file:
            file.write(diff)
    write_json([*starts, start], run_dir / NAME)


def record_end(run_dir: Path, outcome: str) -> None:
    """Say in environment.json how the newest start ended; where that is missing, it was killed."""
    *before, start = read_starts(run_dir)
    write_json([*before, start | {"ended": _now(), "how": outcome}], run_dir / NAME)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _git(*args: str) -> str | None:
    """The output of git in the project's folder; None without git or a repository."""
    try:
        command = ["git", "-C", str(PROJECT_DIR), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError):
        return None
