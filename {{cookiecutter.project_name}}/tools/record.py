"""What a run was made with, for whoever wants to repeat it: environment.json in its directory.

runs.py reads there whether a run is still going on, and how it ended. times.csv beside it has the
seconds of each epoch, so that metrics.csv is the same whenever the run is repeated.
"""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from time import monotonic

import numpy as np
import torch

import tools
from logger.metrics_csv import MetricsCsv
from tools.history import Run
from utils import UserError, distributed
from utils.files import PROJECT_DIR, atomic_write, read_json, write_json

NAME = "environment.json"


class Watcher(tools.Watcher):
    def begin(self, trainer):
        if distributed.is_main():
            record_start(trainer.checkpoint_dir, trainer.device)
            self.times = MetricsCsv(trainer.checkpoint_dir / "times.csv")
            self.times.keep_until(trainer.start_epoch)
            self.began = monotonic()

    def __call__(self, trainer, log):
        if distributed.is_main():
            seconds, self.began = monotonic() - self.began, monotonic()
            self.times.add({"epoch": log["epoch"], "seconds": round(seconds, 3)})

    def end(self, trainer, how):
        if distributed.is_main():
            with suppress(OSError):
                record_end(trainer.checkpoint_dir, how)


def record_start(run_dir, device):
    """Add this start to environment.json, and what git does not have yet to a .diff beside it."""
    path = run_dir / NAME
    starts = read_json(path) if path.exists() else []
    if starts and starts[-1].get("pid") != os.getpid() and Run(run_dir).status == "running":
        raise UserError(f"{run_dir}: process {starts[-1]['pid']} is training this run")
    commit, changes = _git("rev-parse", "HEAD"), _git("diff", "HEAD")
    start = {
        "time": _now(),
        "host": platform.node(),
        "pid": os.getpid(),
        "command": [sys.executable, *sys.argv],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
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


def _git(*args):
    """The output of git in the project's folder; None without git or a repository."""
    try:
        command = ["git", "-C", str(PROJECT_DIR), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError):
        return None
