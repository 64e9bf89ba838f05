"""Train and validate on the same few batches: a model that cannot learn them has a bug."""

from itertools import islice

from train import build_trainer


def run(config, n):
    trainer = build_trainer(config)
    trainer.len_epoch = n
    trainer.data_loader = list(islice(trainer.data_loader, n))
    trainer.valid_data_loader = trainer.data_loader
    trainer.do_validation = True
    trainer.train()
