"""victoresque/pytorch-template, a checkout of which is in PYTHONPATH, with its own config.

LeNet's images go one by one through PIL, in two workers; TensorBoard, and with LeNet the metrics,
are on. Where torchvision is not installed, the few lines of it that are needed stand here.
"""

import json
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from peers.turns import turn
from peers.work import WORKS, LeNet, accuracy, digits


class Mnist(Dataset):
    """What torchvision's MNIST with ToTensor and Normalize does for a sample."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        from PIL import Image

        image = Image.fromarray(self.images[index].numpy(), mode="L")
        pixels = torch.from_numpy(np.array(image, copy=True))[None].float().div(255)
        return pixels.sub_(0.1307).div_(0.3081), int(self.labels[index])


def make_grid(images, nrow, normalize):
    """A picture of all images of a batch, in rows."""
    images = images.clone()
    images.sub_(images.min()).div_(images.max())
    images = images[: len(images) // nrow * nrow].expand(-1, 3, -1, -1)
    images = F.pad(images, [1, 1, 1, 1])
    return torch.cat([torch.cat([*row], dim=2) for row in images.split(nrow)], dim=1)


def run(work):
    warnings.simplefilter("ignore")
    try:
        import torchvision  # noqa: F401
    except ImportError:
        sys.modules["torchvision"] = ModuleType("torchvision")
        sys.modules["torchvision.utils"] = ModuleType("torchvision.utils")
        sys.modules["torchvision.utils"].make_grid = make_grid
    checkout = next(Path(p) for p in sys.path if (Path(p) / "parse_config.py").exists())
    os.chdir(checkout)  # where it looks for the config of its logger
    config = json.loads((checkout / "config.json").read_text())
    config["trainer"]["save_dir"] = os.environ["BENCHMARK_FOLDER"]
    is_configured = work is WORKS["configured"]
    trainer = as_configured(config) if is_configured else with_work(work, config)
    more = {"accuracy": lambda: accuracy(trainer.model)} if is_configured else {}
    train_epoch = trainer._train_epoch

    def in_turn(epoch):
        turn(**more)
        return train_epoch(epoch)

    trainer._train_epoch = in_turn
    trainer.train()


def as_configured(config):
    """What its train.py puts together, with the digits of the project for MNIST."""
    import model.loss as losses
    import model.metric as metrics
    import model.model as models
    from base import BaseDataLoader
    from parse_config import ConfigParser
    from trainer import Trainer

    torch.manual_seed(0)
    parser = ConfigParser(config)
    net = parser.init_obj("arch", models)
    optimizer = parser.init_obj("optimizer", torch.optim, net.parameters())
    args = config["data_loader"]["args"]
    names = ("batch_size", "shuffle", "validation_split", "num_workers")
    loader = BaseDataLoader(Mnist(*digits("train")), *(args[name] for name in names))
    return Trainer(
        net,
        getattr(losses, config["loss"]),
        [getattr(metrics, name) for name in config["metrics"]],
        optimizer,
        config=parser,
        device=torch.device("cpu"),
        data_loader=loader,
        valid_data_loader=loader.split_validation(),
        lr_scheduler=parser.init_obj("lr_scheduler", torch.optim.lr_scheduler, optimizer),
    )


def with_work(work, config):
    """The model and the data of the others."""
    import model.metric as metrics
    from base import BaseDataLoader
    from parse_config import ConfigParser
    from trainer import Trainer

    is_lenet = work.model is LeNet
    config["trainer"] |= {"epochs": 10**6, "save_period": 10**6, "monitor": "off"}
    net, optimizer = work.parts()
    dataset = Mnist(*work.tensors) if is_lenet else work.dataset
    n_workers = config["data_loader"]["args"]["num_workers"] if is_lenet else 0
    trainer = Trainer(
        net,
        F.cross_entropy,
        [metrics.accuracy, metrics.top_k_acc] if is_lenet or work.has_metrics else [],
        optimizer,
        config=ConfigParser(config),
        device=torch.device("cpu"),
        data_loader=BaseDataLoader(dataset, work.batch, True, 0.0, n_workers),
    )
    if not is_lenet:
        sys.modules["trainer.trainer"].make_grid = lambda *_, **__: None  # there are no pictures
        trainer.writer.add_image = sys.modules["trainer.trainer"].make_grid
    return trainer
