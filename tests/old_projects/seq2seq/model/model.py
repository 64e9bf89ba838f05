import random
import torch
import torch.nn as nn
from base import BaseModel


class Seq2Seq(BaseModel):
    def __init__(self, hidden_size, vocab_size):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, hidden_size, padding_idx=0)
        self.encoder = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.decoder = nn.GRU(hidden_size, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, vocab_size)

    def forward(self, source, target, teacher_forcing=0.5):
        _, state = self.encoder(self.embed(source))
        token = torch.zeros(len(source), 1, dtype=torch.long).cuda()
        outputs = []
        for i in range(target.shape[1]):
            hidden, state = self.decoder(self.embed(token), state)
            outputs.append(self.out(hidden))
            forced = random.random() < teacher_forcing
            token = target[:, i:i + 1] if forced else outputs[-1].argmax(dim=2)
        return torch.cat(outputs, dim=1)
