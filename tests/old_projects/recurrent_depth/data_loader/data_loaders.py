import numpy as np
import torch
from base import BaseDataLoader


class VideoDataset:
    """Three frames of a plane that tilts, each with a few of its depths measured."""
    def __init__(self, n, seed):
        self.rng = np.random.RandomState(seed)
        self.slopes = self.rng.uniform(-1, 1, (n, 2)).astype(np.float32)
        self.masks = self.rng.rand(n, 3, 1, 8, 8) < 0.3

    def __len__(self):
        return len(self.slopes)

    def __getitem__(self, index):
        y, x = np.mgrid[0:1:8j, 0:1:8j].astype(np.float32)
        depth = torch.from_numpy(self.slopes[index][0] * y + self.slopes[index][1] * x)[None]
        masks = torch.from_numpy(self.masks[index].astype(np.int)).float()
        frames = [{'image': depth.sin(), 'sparse': {'depth': depth * mask, 'mask': mask}} for mask in masks]
        return {'frames': frames, 'target': depth, 'name': 'video%d' % index}


class VideoDataLoader(BaseDataLoader):
    def __init__(self, batch_size, shuffle=True, num_workers=1, drop_last=False, training=True):
        dataset = VideoDataset(23 if training else 10, seed=0 if training else 1)
        self.num_processed = 0
        super().__init__(dataset, batch_size, shuffle, 0.0, num_workers, drop_last=drop_last)

    def begin(self):
        self.num_processed = 0
