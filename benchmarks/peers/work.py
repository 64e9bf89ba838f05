"""What is trained: data, models and losses that all kinds share."""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from peers.turns import watch


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32, 10)

    def forward(self, x):
        return self.layer(x)


class LeNet(nn.Module):
    """The network of the project's example, for (B, 1, 28, 28) images."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=5)
        self.conv2 = nn.Conv2d(8, 16, kernel_size=5)
        self.dropout = nn.Dropout(0.25)
        self.fc1 = nn.Linear(16 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return self.fc2(F.relu(self.fc1(self.dropout(x.flatten(1)))))


class SmallConv(nn.Sequential):
    """For (B, 3, 32, 32) images; small, so that the data are what takes time."""

    def __init__(self):
        first, second = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 16, 3, stride=2)
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(784, 10))


class Residual(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.short = nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        return F.relu(self.body(x) + self.short(x))


class ResNet(nn.Sequential):
    """The size of ResNet-18, for (B, 3, 64, 64) images."""

    def __init__(self):
        widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
        blocks = [
            Residual(a, b, stride=1 if a == b else 2)
            for a, b in zip(widths, widths[1:], strict=False)
        ]
        start = [nn.Conv2d(3, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.ReLU()]
        end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
        super().__init__(*start, *blocks, *end)


class Transformer(nn.Module):
    """Six layers of width 512 for (B, 128) tokens; the class stands for the whole sequence."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(1000, 512)
        layer = nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(512, 10)

    def forward(self, tokens):
        return self.head(self.layers(self.embedding(tokens)).mean(dim=1))


class Pictures(Dataset):
    """PNG files in memory, decoded, flipped at random and made a tensor one by one."""

    def __init__(self, n):
        from PIL import Image

        self.files = []
        for pixels in torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=seeded()):
            file = io.BytesIO()
            Image.fromarray(pixels.numpy()).save(file, "PNG")
            self.files.append(file.getvalue())

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        import numpy as np
        from PIL import Image, ImageOps

        image = Image.open(io.BytesIO(self.files[index]))
        if torch.rand(()) < 0.5:
            image = ImageOps.mirror(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255), index % 10


def seeded():
    return torch.Generator().manual_seed(0)


def normalise(images):
    """(B, 28, 28) bytes -> (B, 1, 28, 28) floats, as the project's example does it."""
    return images.unsqueeze(1).float().div_(255).sub_(0.1307).div_(0.3081)


def digits(part):
    """Images and labels of the "train" or "test" part of the project's digits."""
    import numpy as np

    project = Path(__file__).parent.parent.parent / "{{cookiecutter.project_name}}"
    with np.load(project / "data" / "mnist_5k.npz") as arrays:
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    return torch.from_numpy(images), torch.from_numpy(labels).long()


@torch.no_grad()
def accuracy(model):
    """On the digits that no training sees."""
    images, labels = digits("test")
    model.eval()
    return (model(normalise(images)).argmax(dim=1) == labels).float().mean().item()


@dataclass
class Work:
    """`has_metrics`: beside the loss, accuracy and top-3 accuracy are measured."""

    model: type
    n: int
    batch: int
    shape: tuple = ()
    has_metrics: bool = False
    on_gpu: bool = False
    workers: int = 0

    @cached_property
    def tensors(self):
        """All inputs, as they are kept, and the classes; pictures are a data set instead."""
        make = {"high": 256, "size": (self.n, *self.shape), "generator": seeded()}
        y = torch.randint(0, 10, (self.n,), generator=seeded())
        if self.model is Tiny:
            return torch.randn(make["size"], generator=seeded()), y
        if self.model is Transformer:
            return torch.randint(**make), y
        return torch.randint(**make, dtype=torch.uint8), y

    def take(self, indices):
        """A finished batch."""
        x, y = self.tensors
        return self.prepare(x[indices]), y[indices]

    def prepare(self, x):
        if x.dtype != torch.uint8:
            return x
        return normalise(x) if x.dim() == 3 else x.float().div_(255)

    @cached_property
    def dataset(self):
        """Sample by sample, as most people write it."""
        if self.model is SmallConv:
            return Pictures(self.n)
        x, y = self.tensors
        return TensorDataset(self.prepare(x), y)

    def loader(self, **options):
        """The stock one."""
        options |= {"num_workers": self.workers, "persistent_workers": self.workers > 0}
        return DataLoader(self.dataset, self.batch, shuffle=True, **options)

    def parts(self):
        """Model and optimizer; Adam is fused, as in the project's config."""
        torch.manual_seed(0)
        model = self.model()
        return model, watch(torch.optim.Adam(model.parameters(), lr=0.001, fused=True))


WORKS = {
    "configured": Work(LeNet, 4_000, 128),
    "lenet": Work(LeNet, 60_000, 128, (28, 28)),
    "tiny": Work(Tiny, 32_000, 32, (32,)),
    "tiny_metrics": Work(Tiny, 32_000, 32, (32,), has_metrics=True),
    "pictures": Work(SmallConv, 6_400, 64),
    "pictures_workers": Work(SmallConv, 6_400, 64, workers=2),
    "digits_one_by_one": Work(LeNet, 12_800, 128, (28, 28)),
    "digits": Work(LeNet, 12_800, 128, (28, 28)),
    "start": Work(LeNet, 4_000, 64, (28, 28)),
    "memory": Work(Tiny, 320, 32, (32,), has_metrics=True),
    "resnet": Work(ResNet, 25_600, 256, (3, 64, 64), on_gpu=True),
    "transformer": Work(Transformer, 12_800, 128, (128,), on_gpu=True),
    "quick": Work(Tiny, 3_200, 32, (32,)),
}
