"""The models: classes for `arch.type` in the config to name."""

import torch
from torch import nn

from base import BaseModel
from utils import UserError


class Gan(BaseModel):
    """Two networks against each other: noise -> (B, 1, 28, 28) images -> (B,) scores.

    The config has an optimizer for each of the two parts, by these names.
    """

    def __init__(self, noise_size: int = 32, width: int = 16) -> None:
        super().__init__()
        self.noise_size = noise_size
        self.generator = nn.Sequential(
            nn.Linear(noise_size, 2 * width * 7 * 7),
            nn.BatchNorm1d(2 * width * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(1, (2 * width, 7, 7)),
            nn.ConvTranspose2d(2 * width, width, kernel_size=4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, kernel_size=4, stride=2, padding=1),
            nn.Sigmoid(),
            Standardise(),
        )
        self.discriminator = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, kernel_size=4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(2 * width * 7 * 7, 1),
            nn.Flatten(0),
        )

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        if noise.shape[1:] != (self.noise_size,):
            raise UserError("a GAN makes digits of noise: it predicts nothing of a picture")
        return self.generator(noise)


class Standardise(nn.Module):
    """Grey values from 0 to 1 as the data loader gives those of real images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - 0.1307) / 0.3081
