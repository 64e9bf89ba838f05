"""The data loaders: classes for `data_loader.type` in the config to name."""

from typing import Any, Literal

import numpy as np
import torch

from base import BaseDataLoader
from data_loader.mnist import MnistDataset, load_embedded, load_idx, normalise, whole_batch
from utils.files import project_path


class MnistDataLoader(BaseDataLoader):
    """Handwritten digits: those that come with the project, or the "full" set in `data_dir`.

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
        source: Literal["embedded", "full"] = "embedded",
        augment: bool = True,
        **options: Any,
    ) -> None:
        folder = project_path(data_dir)
        if source == "full":
            images, labels = load_idx(folder, training)
        else:
            images, labels = load_embedded(folder / "mnist_5k.npz", training)
        super().__init__(
            MnistDataset(images, labels, augment=augment and training),
            batch_size,
            shuffle,
            validation_split,
            num_workers,
            collate_fn=whole_batch,
            valid_dataset=MnistDataset(images, labels),
            **options,
        )
