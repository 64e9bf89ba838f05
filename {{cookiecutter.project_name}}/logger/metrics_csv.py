"""A table of epochs as a CSV file."""

import csv
from pathlib import Path
from typing import Any

from utils.files import atomic_write


class MetricsCsv:
    """A table with one row for each epoch, on disk as soon as the epoch ends."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []

    def keep_until(self, epoch: int) -> int:
        """Take up the table of an earlier process before `epoch`; how many later rows it had."""
        if not self.path.exists():
            return 0
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.rows = [row for row in rows if int(row["epoch"]) < epoch]
        return len(rows) - len(self.rows)

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        columns = dict.fromkeys(key for one in self.rows for key in one)
        with atomic_write(self.path) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
