"""The trainer of train.py: another class can be imported as `Trainer` in its place."""

from trainer.gan_trainer import GanTrainer as Trainer

__all__ = ["Trainer"]
