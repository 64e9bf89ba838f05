"""Make data/penguins.npz of the starter "minimal": four measures of penguins and their species.

    pip download --no-deps palmerpenguins
    python scripts/make_penguins.py palmerpenguins-*.whl

The data are by Kristen Gorman and the Palmer Station, Antarctica LTER, in the public domain (CC0).
The package palmerpenguins carries them as a table. This script leaves out the two birds without
measures, shuffles the others, and holds out 100 of them for test.py.
"""

import csv
import io
import random
import sys
import zipfile
from pathlib import Path

import numpy as np

STARTERS = Path(__file__).parent.parent / "{{cookiecutter.project_name}}" / "starters"
TARGET = STARTERS / "minimal" / "data" / "penguins.npz"
MEASURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
SPECIES = ["Adelie", "Chinstrap", "Gentoo"]
HELD_OUT = 100


def main(wheel):
    text = zipfile.ZipFile(wheel).read("palmerpenguins/data/penguins.csv").decode()
    birds = [bird for bird in csv.DictReader(io.StringIO(text)) if bird[MEASURES[0]] != "NA"]
    random.Random(0).shuffle(birds)
    inputs = np.array([[float(bird[one]) for one in MEASURES] for bird in birds], np.float32)
    targets = np.array([SPECIES.index(bird["species"]) for bird in birds])
    np.savez_compressed(
        TARGET,
        train_inputs=inputs[HELD_OUT:],
        train_targets=targets[HELD_OUT:],
        test_inputs=inputs[:HELD_OUT],
        test_targets=targets[:HELD_OUT],
    )
    print(f"{TARGET}: {len(birds)} penguins, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
