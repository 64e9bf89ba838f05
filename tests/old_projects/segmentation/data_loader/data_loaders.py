import numpy as np
import torch
from torch.utils.data import Dataset
from base import BaseDataLoader


class ScanDataset(Dataset):
    def __init__(self, n, seed):
        rng = np.random.RandomState(seed)
        self.before = rng.normal(0, 0.1, (n, 1, 16, 16)).astype(np.float32)
        self.mask = np.zeros((n, 1, 16, 16), dtype=np.float32)
        for i, (row, column) in enumerate(rng.randint(0, 11, (n, 2))):
            self.mask[i, 0, row:row + 5, column:column + 5] = 1
        self.now = self.before + self.mask

    def __len__(self):
        return len(self.mask)

    def __getitem__(self, idx):
        return torch.from_numpy(self.before[idx]), torch.from_numpy(self.now[idx]), torch.from_numpy(self.mask[idx])


class ScanDataLoader(BaseDataLoader):
    def __init__(self, batch_size, shuffle=True, validation_split=0.0, num_workers=1, training=True):
        self.dataset = ScanDataset(40 if training else 16, seed=0 if training else 1)
        super(ScanDataLoader, self).__init__(self.dataset, batch_size, shuffle, validation_split, num_workers)
