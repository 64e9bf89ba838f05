"""What the records of a run say beside what runs.py reads; for report.py, without torch."""

import os
import platform
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from runs import Run, read_csv
from utils.files import read_json

NAME = "environment.json"  # where tools/record.py notes each start of a run


class RecordedRun(Run):
    """A run with what tools/record.py has written; empty where it has not."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.starts = read_starts(self.path)
        times = read_csv(self.path / "times.csv")
        self.epoch_seconds: dict[float, float] = {row["epoch"]: row["seconds"] for row in times}
        self.data_waits = read_csv(self.path / "data_wait.csv")
        self.seconds = sum(self.epoch_seconds.values())
        last = self.starts[-1] if self.starts else {}
        is_here = last.get("host") == platform.node() and os.name == "posix"
        if self.status == "running or killed" and "how" in last:  # the report is being made
            self.status, _, self.reason = last["how"].partition(": ")
        elif self.status == "running or killed" and is_here:
            self.status = "running" if is_alive(last["pid"], last["time"]) else "interrupted"


def read_starts(run_dir: Path) -> list[dict[str, Any]]:
    """What environment.json says of each process that has worked on the run, the newest last."""
    path = run_dir / NAME
    starts = read_json(path) if path.exists() else []
    return starts if isinstance(starts, list) else [starts]  # one alone in older versions


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


def duration(seconds: float) -> str:
    """As 4 s, 3:20 min or 5:07 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes}:{seconds:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"
