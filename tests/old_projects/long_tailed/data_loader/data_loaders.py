import numpy as np
import torch
from torch.utils.data import TensorDataset
from base import BaseDataLoader


class ImbalancedDataLoader(BaseDataLoader):
    """Class k has imb_factor ** (k / 3) of the samples of class 0."""
    def __init__(self, batch_size, shuffle=True, num_workers=1, imb_factor=0.1, validation_split=0.0, training=True):
        rng = np.random.RandomState(0 if training else 1)
        counts = [int(100 * imb_factor ** (k / 3)) if training else 25 for k in range(4)]
        labels = np.repeat(np.arange(4), counts)
        centres = np.random.RandomState(5).normal(0, 2, (4, 8))
        data = centres[labels] + rng.normal(size=(len(labels), 8))
        self.cls_num_list = counts
        self.num_classes = len(np.unique(labels).astype(np.int))
        dataset = TensorDataset(torch.tensor(data, dtype=torch.float32), torch.tensor(labels))
        super().__init__(dataset, batch_size, shuffle, validation_split, num_workers)
