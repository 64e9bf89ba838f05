"""Make data/diamonds.csv of the starter "tabular": prices of diamonds and what they depend on.

    pip download --no-deps plotnine
    python scripts/make_diamonds.py plotnine-*.whl

The data set is that of the R package ggplot2 (Hadley Wickham and others, MIT): 53,940 diamonds. The
package plotnine (Hassan Kibirige, MIT) carries it as a table. This script takes 6,000 of them by
chance, without those whose size is not given, and holds out the last 1,000 for test.py.
"""

import csv
import random
import sys
import zipfile
from pathlib import Path

STARTERS = Path(__file__).parent.parent / "{{cookiecutter.project_name}}" / "starters"
TARGET = STARTERS / "tabular" / "data" / "diamonds.csv"
N_ROWS, HELD_OUT = 6000, 1000


def main(wheel):
    text = zipfile.ZipFile(wheel).read("plotnine/data/diamonds.csv").decode()
    header, *lines = text.splitlines()
    rows = csv.DictReader([header, *dict.fromkeys(lines)])  # a diamond that is there twice, once
    complete = [row for row in rows if all(float(row[size]) > 0 for size in "xyz")]
    chosen = random.Random(0).sample(complete, N_ROWS)
    for number, row in enumerate(chosen):
        row["part"] = "train" if number < N_ROWS - HELD_OUT else "test"
    with TARGET.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(chosen[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(chosen)
    print(f"{TARGET}: {len(chosen):,} diamonds, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
