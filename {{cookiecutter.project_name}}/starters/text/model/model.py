"""The models: classes for `arch.type` in the config to name."""

import torch
from torch import nn

from base import BaseModel


class NamesModel(BaseModel):
    """(B, L) numbers of letters, 0 where a sequence is padded -> (B, num_classes) logits."""

    def __init__(
        self,
        n_characters: int,
        num_classes: int = 7,
        embedding: int = 32,
        hidden: int = 128,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_characters, embedding, padding_idx=0)
        self.gru = nn.GRU(embedding, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.gru(self.embedding(x))
        is_padding = (x == 0).unsqueeze(2)
        # What the network saw at its strongest, wherever in the sequence; never of the padding
        strongest = states.masked_fill(is_padding, -1).amax(dim=1)  # states lie between -1 and 1
        return self.output(self.dropout(strongest))
