"""The trainer of train.py: import a class of your own as `Trainer` in its place."""

from trainer.trainer import Trainer

__all__ = ["Trainer"]
