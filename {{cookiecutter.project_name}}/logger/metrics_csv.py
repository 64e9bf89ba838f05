import csv
from pathlib import Path

from utils.files import atomic_write


class MetricsCsv:
    """A table with one row for each epoch, on disk as soon as the epoch ends."""

    def __init__(self, path):
        self.path = Path(path)
        self.rows = []

    def keep_until(self, epoch):
        """Take up the table of an earlier process, without the epochs from `epoch` on."""
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]

    def add(self, row):
        self.rows.append(row)
        columns = dict.fromkeys(key for one in self.rows for key in one)
        with atomic_write(self.path) as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
