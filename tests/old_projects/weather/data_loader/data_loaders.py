import torch
from torch.utils.data import Dataset
from base import BaseDataLoader


class Days(Dataset):
    """A sine with noise; what a day was like and the next."""
    def __init__(self, n_days=32, noise=0.0):
        time = torch.arange(n_days + 2, dtype=torch.float) / 5
        values = torch.sin(time) + noise * torch.randn(n_days + 2, generator=torch.Generator().manual_seed(0))
        self.days = torch.stack([values[:-2], values[1:-1]], dim=1)
        self.next = values[2:, None]

    def __len__(self):
        return len(self.days)

    def __getitem__(self, idx):
        return self.days[idx], self.next[idx]


class WeatherDataLoader(BaseDataLoader):
    def __init__(self, batch_size, validation_split=0.0, **kwargs):
        self.days = Days(**kwargs)
        super().__init__(self.days, batch_size, True, validation_split, 0)
