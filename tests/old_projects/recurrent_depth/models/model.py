import torch
import torch.nn as nn
from base.base_model import BaseModel


class DepthNet(BaseModel):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.encode = nn.Conv2d(2 + width, width, 3, padding=1)
        self.depth = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, image, sparse, state=None):
        if state is None:
            state = torch.zeros(len(image), self.width, *image.shape[2:]).cuda()
        state = torch.tanh(self.encode(torch.cat([image, sparse, state], dim=1)))
        return self.depth(state), state
