"""MNIST: the 5,000 digits in data/mnist_5k.npz, or the full data set in its four original files."""

import gzip
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from utils.errors import UserError

IDX_FILES = {
    True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", 60_000),
    False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 10_000),
}


class MnistDataset(Dataset):
    """(N, 28, 28) uint8 images and N labels as normalised (1, 28, 28) floats and class numbers.

    Whole batches are made at once: see `__getitems__`. `augment` shifts each image at random.
    """

    def __init__(self, images: Any, labels: Any, augment: bool = False) -> None:
        self.images = torch.as_tensor(images)
        self.labels = torch.as_tensor(labels, dtype=torch.long)
        self.augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def fingerprint(self) -> str:
        """Of all images and labels, to notice other data."""
        content = self.images.numpy().tobytes() + self.labels.numpy().tobytes()
        return blake2b(content, digest_size=16).hexdigest()

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The finished batch: (B, 1, 28, 28) images and (B,) labels."""
        seed = getattr(indices, "seed", 0)  # a BaseDataLoader gives both, see SeededBatch
        chosen = getattr(indices, "tensor", indices)
        images = normalise(self.images[chosen])
        if self.augment:
            images = random_shift(images, torch.Generator().manual_seed(seed))
        return images, self.labels[chosen]


def whole_batch(batch: Any) -> Any:
    """For `collate_fn`: the data set hands over batches that are finished."""
    return batch


def normalise(images: torch.Tensor) -> torch.Tensor:
    """(B, 28, 28) uint8 images as (B, 1, 28, 28) floats: what the model is trained on."""
    images = images.unsqueeze(1).float().div_(255)
    return images.sub_(0.1307).div_(0.3081)  # mean and deviation of the training images


def random_shift(images: torch.Tensor, generator: torch.Generator, pixels: int = 2) -> torch.Tensor:
    """Move each of (B, C, H, W) images by up to `pixels` to either side and up or down."""
    batch, _, height, width = images.shape
    padded = F.pad(images, [pixels] * 4, value=images.min().item())
    corner = torch.randint(0, 2 * pixels + 1, (batch, 2, 1), generator=generator)
    rows = corner[:, 0] + torch.arange(height)
    columns = corner[:, 1] + torch.arange(width)
    each = torch.arange(batch)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def load_embedded(path: Path, training: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the digits that come with the project. Raises UserError without them."""
    part = "train" if training else "test"
    try:
        with np.load(path) as arrays:
            return arrays[f"{part}_images"], arrays[f"{part}_labels"]
    except FileNotFoundError:
        raise UserError(f"{path} is missing: it comes with the project") from None


def load_idx(data_dir: Path, training: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels from the original files in `data_dir`, as they are or with .gz.

    Raises UserError where one is missing or damaged.
    """
    images_name, labels_name, count = IDX_FILES[training]
    images = _read_idx(data_dir, images_name, (count, 28, 28))
    return images, _read_idx(data_dir, labels_name, (count,))


def _read_idx(data_dir: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array in the IDX format: 0, 0, type, number of dimensions, each size, then the bytes."""
    path = next((p for p in (data_dir / name, data_dir / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise UserError(
            f"data_loader.args.data_dir: {data_dir / name} is missing: download the four files of "
            "MNIST, as torchvision.datasets.MNIST(root, download=True) does, and put them there"
        )
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
    if not content.startswith(header) or len(content) != len(header) + np.prod(shape):
        raise UserError(f"{path}: is not an IDX file of {shape} bytes, or is damaged")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy()
