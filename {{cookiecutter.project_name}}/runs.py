"""List the runs, with the keys of the config in which they differ.

python runs.py                   all under saved/, the newest last
python runs.py --sort best       the best last; or by any other column
"""

import csv
import json
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from utils.check import flat
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import UserError
from utils.files import find_file, read_json
from utils.run_dir import is_run, read_mark

COLUMNS = ["run", "status", "epochs", "monitor", "best", "at"]  # at: the epoch of the best value


class Run:
    """What the directory of a run says. Raises UserError where it is that of none."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        if not is_run(self.path):
            raise UserError(f"{path}: is not the directory of a run")
        self.name = f"{self.path.parent.name}/{self.path.name}"
        self.config = read_json(self.path / "config.json")
        self.rows = read_csv(self.path / "metrics.csv")  # a row for each epoch
        self.epochs = int(self.rows[-1]["epoch"]) if self.rows else 0
        self.mode, _, self.monitor = self.config["trainer"]["monitor"].partition(" ")
        rows = [row for row in self.rows if isinstance(row.get(self.monitor), float)]
        choose = min if self.mode == "min" else max  # the first one where several are the best
        self.best = choose(rows, key=lambda row: row[self.monitor], default={})
        outcome = read_mark(self.path).get("outcome", "unknown")
        self.status, _, self.reason = (outcome or "running or killed").partition(": ")

    def values(self) -> dict[str, Any]:
        """What the table may have of it: all columns, and all keys of the config."""
        best = self.best.get(self.monitor), int(self.best["epoch"]) if self.best else None
        columns = (self.name, self.status, self.epochs, self.monitor, *best)
        return flat(self.config) | dict(zip(COLUMNS, columns, strict=True))


def read_csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, with finite numbers as floats; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = [*csv.DictReader(file)]
    for row in rows:
        for key, text in row.items():
            with suppress(TypeError, ValueError):
                row[key] = float(text) if isfinite(float(text)) else text
    return rows


def find_runs(folder: str | Path) -> list[Run]:
    """All runs in <folder>/<name>/<run_id>, the oldest first; what cannot be read is left out."""
    runs = []
    for path in sorted(Path(folder).glob("*/*/config.json"), key=lambda path: path.parent.name):
        with suppress(UserError, OSError, ValueError, LookupError):
            runs.append(Run(path.parent))
    return runs


def table_of(runs: Sequence[Run], sort: str = "") -> list[list[str]]:
    """The heading, and a row for each run. Raises UserError where there is no column `sort`."""
    known = {run: run.values() for run in runs}
    keys = dict.fromkeys([*COLUMNS, *(key for values in known.values() for key in values)])
    n_values = {key: len({repr(values.get(key)) for values in known.values()}) for key in keys}
    columns = [key for key, n in n_values.items() if key in COLUMNS or n > 1]
    if sort and sort not in columns:
        raise UserError(f"command line: --sort {sort}: no such column; valid: {', '.join(columns)}")

    def place(run: Run) -> tuple[int, Any]:
        value = known[run].get(sort)
        sign = -1 if sort == "best" and run.mode == "min" else 1
        return (1, sign * value) if isinstance(value, (int, float)) else (0, str(value))

    runs = sorted(runs, key=place) if sort else runs
    return [columns] + [[shown(known[run].get(key)) for key in columns] for run in runs]


def shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def main(argv: list[str] | None = None) -> None:
    """Read the command line, print the table."""
    parser = CommandLine(__doc__)
    parser.add_argument("--dir", default="saved", help="where the runs are (the project's saved)")
    parser.add_argument("--sort", default="", metavar="COLUMN", help="the largest, or best, last")
    with exit_on_user_error():
        args = parser.parse_args(argv)
        lines = table_of(find_runs(find_file(args.dir)), args.sort)
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
            print("  ".join(cells).rstrip())


if __name__ == "__main__":
    main()
