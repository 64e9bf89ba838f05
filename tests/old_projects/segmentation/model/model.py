import torch
import torch.nn as nn
from base import BaseModel


class TwoTimesNet(BaseModel):
    """What is new since the scan before."""
    def __init__(self, width):
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(),
                                    nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.decode = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, before, now):
        return self.decode(torch.cat([self.encode(before), self.encode(now)], dim=1))
