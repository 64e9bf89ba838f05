import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from base import BaseDataLoader


class Vocabulary:
    def __init__(self, words):
        self.index = {'<pad>': 0}
        for word in words:
            self.index.setdefault(word, len(self.index))

    def __len__(self):
        return len(self.index)


class SequenceDataset:
    """Sentences of 3 to 6 words, to be said backwards."""
    def __init__(self, n, seed, vocab):
        rng = np.random.RandomState(seed)
        words = list(vocab.index)[1:]
        self.sentences = [[vocab.index[w] for w in rng.choice(words, rng.randint(3, 7))] for _ in range(n)]

    def __len__(self):
        return len(self.sentences)

    def __getitem__(self, index):
        tokens = self.sentences[index]
        return {'source': torch.tensor(tokens), 'target': torch.tensor(tokens[::-1]), 'id': str(index)}


def collate(samples):
    batch = {key: pad_sequence([s[key] for s in samples], batch_first=True) for key in ('source', 'target')}
    batch['id'] = [s['id'] for s in samples]
    return batch


class SequenceDataLoader(BaseDataLoader):
    def __init__(self, batch_size, shuffle=True, validation_split=0.0, num_workers=1, training=True):
        self.vocab = Vocabulary('the cat dog sat ran on mat road'.split())
        dataset = SequenceDataset(120 if training else 40, 0 if training else 1, self.vocab)
        super().__init__(dataset, batch_size, shuffle, validation_split if training else 0.0,
                         num_workers, collate_fn=collate)
