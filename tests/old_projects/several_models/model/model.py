import torch.nn as nn
import torch.nn.functional as F
from base import BaseModel


class Encoder(BaseModel):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(6, width)

    def forward(self, x):
        return F.relu(self.fc(x))


class Head(BaseModel):
    def __init__(self, width, n_outputs):
        super().__init__()
        self.fc = nn.Linear(width, n_outputs)

    def forward(self, features):
        return self.fc(features)
