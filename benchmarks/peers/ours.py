"""A project baked from this template, in PYTHONPATH: TensorBoard, CSV and progress are on."""

import os
import sys

import torch
from torch.utils.data import Dataset

from base import BaseDataLoader
from data_loader.data_loaders import MnistDataset
from peers.turns import turn, watch
from peers.work import WORKS, LeNet, SmallConv, accuracy


class Whole(Dataset):
    """Whole batches at once."""

    def __init__(self, work):
        self.work = work

    def __len__(self):
        return self.work.n

    def __getitem__(self, index):
        return self.__getitems__([index])

    def __getitems__(self, indices):
        return self.work.take(getattr(indices, "tensor", indices))


class Loader(BaseDataLoader):
    def __init__(self, work, batch_size, shuffle=True, training=True):
        work = WORKS[work]
        if work.model is SmallConv:
            return super().__init__(work.dataset, batch_size, shuffle, 0, work.workers)
        dataset = MnistDataset(*work.tensors) if work.model is LeNet else Whole(work)
        super().__init__(dataset, batch_size, shuffle, 0, 0, collate_fn=whole_batch)


def whole_batch(batch):
    return batch


def run(work):
    from parse_config import ConfigParser, default_config
    from train import build_trainer

    name = sys.argv[2]
    changes = {"trainer.save_dir": os.environ["BENCHMARK_FOLDER"]}
    if name != "configured":
        changes |= changes_for(work, name)
    trainer = build_trainer(ConfigParser.from_file(default_config(), changes))
    watch(trainer.optimizer)
    more = {"accuracy": lambda: accuracy(trainer.model)} if name == "configured" else {}
    train_epoch = trainer._train_epoch

    def in_turn(epoch):
        turn(**more)
        return train_epoch(epoch)

    trainer._train_epoch = in_turn
    trainer.train()
    turn(**more)


def changes_for(work, name):
    """Those of the project's config that make it do the same work as the others."""
    changes = {
        "arch": f"peers.work.{work.model.__name__}",
        "data_loader": {
            "type": "peers.ours.Loader",
            "args": {"work": name, "batch_size": work.batch},
        },
        "optimizer": {"type": "Adam", "args": {"lr": 0.001, "fused": True}},
        "metrics": ["accuracy", "top_k_acc"] if work.has_metrics else [],
        "lr_scheduler": None,
        "trainer.epochs": 10**6,
        "trainer.early_stop": None,
        "trainer.monitor": "off",
        "trainer.save_period": 1 if name == "memory" else 10**6,
        "trainer.keep_last": 1,
        "device": "auto" if work.on_gpu else "cpu",
    }
    if work.on_gpu and torch.cuda.is_available():
        changes |= {"trainer.precision": "bf16", "trainer.compile": True}
    return changes
