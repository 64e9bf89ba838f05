import numpy as np
import torch
from torch.utils.data import TensorDataset
from torch.utils.data.sampler import SubsetRandomSampler
from base import BaseDataLoader


class FoldDataLoader(BaseDataLoader):
    """Every n_folds-th sample is of this fold's validation part."""
    def __init__(self, batch_size, shuffle=True, num_workers=1, fold=0, n_folds=3, training=True):
        self.fold, self.n_folds, self.training = fold, n_folds, training
        rng = np.random.RandomState(0 if training else 1)
        x = rng.normal(size=(90, 3)).astype(np.float32)
        y = x.sum(axis=1) + np.sin(x[:, 0])
        super().__init__(TensorDataset(torch.from_numpy(x), torch.from_numpy(y)),
                         batch_size, shuffle, 1.0 / n_folds if training else 0.0, num_workers)

    def _split_sampler(self, split):
        if split == 0.0:
            return None, None
        index = np.arange(self.n_samples)
        in_fold = index % self.n_folds == self.fold
        self.shuffle = False
        self.n_samples = int(np.sum(~in_fold))
        return SubsetRandomSampler(index[~in_fold]), SubsetRandomSampler(index[in_fold])
