"""Make tests/project/digits.npz, real digits for the tests of the core.

    pip download --no-deps scikit-learn
    python scripts/make_digits.py scikit_learn-*.whl

They are the 1,797 images of 8 x 8 grey values that scikit-learn carries: the test set of "Optical
Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
CC BY 4.0). This script stores them as uint8 images; the last 297 are held out.
"""

import gzip
import sys
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parent.parent / "tests" / "project" / "digits.npz"
HELD_OUT = 297


def main(wheel):
    with zipfile.ZipFile(wheel).open("sklearn/datasets/data/digits.csv.gz") as packed:
        table = np.loadtxt(gzip.open(packed), delimiter=",").astype(np.uint8)
    images, labels = table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    np.savez_compressed(
        TARGET,
        train_images=images[:-HELD_OUT],
        train_labels=labels[:-HELD_OUT],
        test_images=images[-HELD_OUT:],
        test_labels=labels[-HELD_OUT:],
    )
    print(f"{TARGET}: {len(labels):,} images, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
