import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import default_collate
from torch.utils.data.sampler import SubsetRandomSampler


class BaseDataLoader(DataLoader):
    def __init__(self, dataset, batch_size, shuffle, validation_split, num_workers, collate_fn=default_collate):
        self.validation_split = validation_split
        self.shuffle = shuffle
        self.n_samples = len(dataset)
        self.sampler, self.valid_sampler = self._split_sampler(validation_split)
        self.init_kwargs = dict(dataset=dataset, batch_size=batch_size, shuffle=self.shuffle,
                                collate_fn=collate_fn, num_workers=num_workers)
        super().__init__(sampler=self.sampler, **self.init_kwargs)

    def _split_sampler(self, split):
        """The last days are for validation: nothing of the future is learnt."""
        if split == 0.0:
            return None, None
        order = np.arange(self.n_samples)
        n_valid = split if isinstance(split, int) else int(self.n_samples * split)
        self.shuffle = False
        self.n_samples = self.n_samples - n_valid
        return SubsetRandomSampler(order[:-n_valid]), SubsetRandomSampler(order[-n_valid:])

    def split_validation(self):
        if self.valid_sampler is None:
            return None
        return DataLoader(sampler=self.valid_sampler, **self.init_kwargs)
