from typing import Literal

from base import BaseDataLoader
from data_loader.mnist import MnistDataset, load_embedded, load_idx
from utils.files import project_path


class MnistDataLoader(BaseDataLoader):
    """Handwritten digits: those that come with the project, or the "full" set in `data_dir`.

    With `training` the training part, of which `validation_split` goes to validation; without, the
    held-out test part.
    """

    def __init__(
        self,
        data_dir="data",
        batch_size=64,
        shuffle=True,
        validation_split=0.1,
        num_workers=0,
        training=True,
        source: Literal["embedded", "full"] = "embedded",
        augment=True,
        **options,
    ):
        data_dir = project_path(data_dir)
        if source == "full":
            images, labels = load_idx(data_dir, training)
        else:
            images, labels = load_embedded(data_dir / "mnist_5k.npz", training)
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


def whole_batch(batch):
    """For `collate_fn`: the data set hands over batches that are finished."""
    return batch
