from trainer.gan_trainer import GanTrainer as Trainer

__all__ = ["Trainer"]
