import numpy as np
import torch
from torch.utils.data import Dataset
from base import BaseDataLoader


class RingDataset(Dataset):
    def __init__(self, n, seed):
        angles = np.random.RandomState(seed).uniform(0, 2 * np.pi, n)
        self.points = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float)

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return torch.from_numpy(self.points[index]).float(), index


class RingDataLoader(BaseDataLoader):
    def __init__(self, batch_size, shuffle, validation_split, num_workers, training=True):
        self.dataset = RingDataset(256, 0 if training else 1)
        super(RingDataLoader, self).__init__(self.dataset, batch_size, shuffle, validation_split, num_workers)
