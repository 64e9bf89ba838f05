"""The data loaders: classes for `data_loader.type` in the config to name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset, default_convert

from base import BaseDataLoader
from utils.files import project_path


class MnistDataLoader(BaseDataLoader):
    """The handwritten digits in data/mnist_5k.npz.

    With `training` the training part, of which `validation_split` goes to validation; without, the
    held-out test part.
    """

    classes = tuple("0123456789")  # what predict.py calls the outputs of the model

    @staticmethod
    def prepare(image: Any) -> torch.Tensor:
        """For predict.py: what the model takes for a picture of a digit, light on dark.

        A picture is one of Pillow's, or a (28, 28) uint8 array. Raises ValueError for other inputs.
        """
        if hasattr(image, "convert"):
            image = np.array(image.convert("L").resize((28, 28)))
        image = np.asarray(image)
        if image.shape != (28, 28) or image.dtype != np.uint8:
            raise ValueError(f"{image.dtype} {image.shape}: a digit is uint8 (28, 28)")
        return normalise(torch.as_tensor(image)[None])[0]

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int = 64,
        shuffle: bool = True,
        validation_split: int | float = 0.1,
        num_workers: int = 0,
        training: bool = True,
        augment: bool = True,
        **options: Any,
    ) -> None:
        part = "train" if training else "test"
        with np.load(project_path(data_dir) / "mnist_5k.npz") as arrays:
            images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        super().__init__(
            MnistDataset(images, labels, augment=augment and training),
            batch_size,
            shuffle,
            validation_split,
            num_workers,
            collate_fn=default_convert,
            valid_dataset=MnistDataset(images, labels),
            **options,
        )


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

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The finished batch: (B, 1, 28, 28) images and (B,) labels."""
        # A SeededBatch of a BaseDataLoader has both; a Subset, say, gives a list
        seed = indices.seed if hasattr(indices, "seed") else int(torch.randint(2**62, ()))
        chosen = getattr(indices, "tensor", indices)
        images = normalise(self.images[chosen])
        if self.augment:
            images = random_shift(images, torch.Generator().manual_seed(seed))
        return images, self.labels[chosen]


def normalise(images: torch.Tensor) -> torch.Tensor:
    """(B, 28, 28) uint8 images as (B, 1, 28, 28) floats: what the model is trained on."""
    images = images.unsqueeze(1).float().div_(255)
    return images.sub_(0.1307).div_(0.3081)  # mean and deviation of the training images


def random_shift(images: torch.Tensor, generator: torch.Generator, pixels: int = 2) -> torch.Tensor:
    """Move each of (B, C, H, W) images by up to `pixels` to either side and up or down."""
    n, _, height, width = images.shape
    padded = F.pad(images, [pixels] * 4, value=images.min().item())
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, rows, columns, H, W)
    row, column = torch.randint(0, 2 * pixels + 1, (2, n), generator=generator)
    return windows[torch.arange(n), :, row, column]
