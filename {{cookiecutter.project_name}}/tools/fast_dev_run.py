"""One epoch of a few batches of training and of validation, everything else as in a real run."""

from itertools import islice

from train import build_trainer


def run(config, n):
    trainer = build_trainer(config)
    trainer.epochs = 1
    trainer.len_epoch = min(n, trainer.len_epoch)
    if trainer.do_validation:
        trainer.valid_data_loader = list(islice(trainer.valid_data_loader, n))
    trainer.train()
