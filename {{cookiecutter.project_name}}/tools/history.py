"""What the directory of a run says about it; for report.py and runs.py, without torch."""

import csv
import os
import platform
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import read_json
from utils.run_dir import is_run

NAME = "environment.json"  # where tools/record.py notes each start of a run
Row = dict[str, Any]  # of a table of epochs: numbers where they are some


class Run:
    """A run directory, read when asked for; empty where an older project has not written it.

    Raises UserError where the directory is not that of a run.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        if not is_run(self.path):
            raise UserError(f"{path}: is not the directory of a run")
        self.config = read_json(self.path / "config.json")
        self.name = f"{self.path.parent.name}/{self.path.name}"

    @cached_property
    def starts(self) -> list[dict[str, Any]]:
        """What environment.json says of each process that has worked on the run."""
        return read_starts(self.path)

    @cached_property
    def rows(self) -> list[Row]:
        """Those of metrics.csv."""
        return _read_csv(self.path / "metrics.csv")

    @cached_property
    def epoch_seconds(self) -> dict[float, float]:
        """The seconds of each epoch, by its number."""
        return {row["epoch"]: row["seconds"] for row in _read_csv(self.path / "times.csv")}

    @property
    def epochs(self) -> int:
        """How many are done."""
        return int(self.rows[-1]["epoch"]) if self.rows else 0

    @property
    def monitor(self) -> tuple[str, str]:
        """The mode and the name of the monitored value: ("min", "val_loss")."""
        mode, _, name = self.config.get("trainer", {}).get("monitor", "off").partition(" ")
        return mode, name

    @cached_property
    def best(self) -> Row | None:
        """The row of the best epoch, the first one if several are; None where there is none."""
        mode, name = self.monitor
        rows = [row for row in self.rows if row.get(name) == row.get(name) not in (None, "")]
        if mode == "off" or not rows:
            return None
        return (min if mode == "min" else max)(rows, key=lambda row: row[name])

    @property
    def status(self) -> str:
        """running, finished, stopped early, failed, interrupted or unknown."""
        if not self.starts or "pid" not in self.starts[-1]:
            return "unknown"
        last = self.starts[-1]
        if "how" in last:
            return last["how"].partition(":")[0]
        if last["host"] != platform.node() or os.name != "posix":
            return "unknown"  # nobody here can tell
        return "running" if is_alive(last["pid"], last["time"]) else "interrupted"

    @property
    def reason(self) -> str:
        """Why it failed."""
        return self.starts[-1].get("how", "").partition(": ")[2] if self.starts else ""

    @property
    def seconds(self) -> float:
        """That its epochs have taken."""
        return sum(self.epoch_seconds.values())


def find_runs(folder: str | Path) -> list[Run]:
    """All runs in <folder>/<name>/<run_id>, the oldest first; what cannot be read is left out."""
    runs = []
    for path in sorted(Path(folder).glob("*/*/config.json"), key=lambda path: path.parent.name):
        with suppress(UserError, OSError, ValueError):
            runs.append(Run(path.parent))
    return runs


def flat(config: Any, path: str = "") -> dict[str, Any]:
    """{"optimizer.args.lr": 0.1, …} of a config."""
    if not isinstance(config, dict) or (path and not config):
        return {path: config}
    return {
        key: value
        for name, inner in config.items()
        for key, value in flat(inner, f"{path}.{name}" if path else name).items()
    }


def duration(seconds: float) -> str:
    """As 4 s, 3:20 min or 5:07 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes}:{seconds:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def _read_csv(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: _number(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _number(text: Any) -> Any:
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


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
