import torch.nn as nn
from base import BaseModel


class RingGAN(BaseModel):
    def __init__(self, n_noise):
        super(RingGAN, self).__init__()
        self.n_noise = n_noise
        self.generator = nn.Sequential(nn.Linear(n_noise, 32), nn.ReLU(), nn.Linear(32, 2))
        self.discriminator = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def forward(self, z, real):
        fake = self.generator(z)
        return self.discriminator(real), self.discriminator(fake.detach()), self.discriminator(fake), fake
