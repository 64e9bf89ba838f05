from torch.utils.data import TensorDataset

from base import BaseDataLoader
from data_loader.diamonds import read_diamonds
from utils.files import project_path


class DiamondsDataLoader(BaseDataLoader):
    """Diamonds as (B, 26) numbers and their (B,) prices in thousands of dollars."""

    def __init__(
        self,
        path="data/diamonds.csv",
        batch_size=64,
        shuffle=True,
        validation_split=0.1,
        num_workers=0,
        training=True,
        **options,
    ):
        inputs, prices = read_diamonds(project_path(path), "train" if training else "test")
        dataset = TensorDataset(inputs, prices)
        super().__init__(dataset, batch_size, shuffle, validation_split, num_workers, **options)
