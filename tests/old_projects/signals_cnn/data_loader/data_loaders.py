import os
import numpy as np
import torch
from torch.utils.data import Dataset
from base import BaseDataLoader


class SignalDataset(Dataset):
    """Recordings in a .npy file: a sample a row, the class in the last column."""
    def __init__(self, data_dir, training):
        table = np.load(os.path.join(data_dir, 'train.npy' if training else 'test.npy'))
        self.signals = table[:, :-1].astype(np.float)
        self.labels = table[:, -1].astype(np.int)

    def __len__(self):
        return len(self.signals)

    def __getitem__(self, idx):
        assert isinstance(idx, int)
        return torch.tensor(self.signals[idx], dtype=torch.float32)[None], self.labels[idx]


class SignalDataLoader(BaseDataLoader):
    def __init__(self, data_dir, batch_size, shuffle=True, validation_split=0.0, num_workers=1, training=True):
        self.data_dir = data_dir
        self.dataset = SignalDataset(data_dir, training)
        super().__init__(self.dataset, batch_size, shuffle, validation_split, num_workers)
