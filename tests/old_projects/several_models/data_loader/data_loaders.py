import torch
from torch.utils.data import TensorDataset
from base import BaseDataLoader


class DomainDataLoader(BaseDataLoader):
    def __init__(self, batch_size, shuffle=True, validation_split=0.0, num_workers=1, training=True):
        generator = torch.Generator().manual_seed(0 if training else 1)
        n = 160 if training else 60
        target = torch.arange(n) % 3
        domain = torch.arange(n) // 3 % 2
        data = torch.randn(n, 6, generator=generator)
        data[torch.arange(n), target] += 2
        data[torch.arange(n), 3 + domain] += 2
        super().__init__(TensorDataset(data, target, domain), batch_size, shuffle,
                         validation_split if training else 0.0, num_workers)
