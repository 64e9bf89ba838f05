import numpy as np
import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from utils.errors import UserError
from utils.files import project_path


class ArrayDataLoader(BaseDataLoader):
    """The arrays train_inputs and train_targets of an .npz file, or those that begin with test_."""

    def __init__(
        self,
        path="data/penguins.npz",
        batch_size=32,
        shuffle=True,
        validation_split=0.2,
        num_workers=0,
        training=True,
        **options,
    ):
        part = "train" if training else "test"
        try:
            with np.load(project_path(path)) as arrays:
                inputs = torch.from_numpy(arrays[f"{part}_inputs"]).float()
                targets = torch.from_numpy(arrays[f"{part}_targets"])
        except (OSError, KeyError) as error:
            raise UserError(f"data_loader.args.path: {error}") from None
        dataset = TensorDataset(inputs, targets)
        super().__init__(dataset, batch_size, shuffle, validation_split, num_workers, **options)
