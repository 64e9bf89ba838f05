"""Train and validate on the same few batches: a model that cannot learn them has a bug.

The learning rate stays as it is, since a schedule is for another number of steps.
"""

from parse_config import ConfigParser
from tools import of_a_new_run
from tools.fast_dev_run import positive
from tools.first_batches import FirstBatches
from train import build_trainer

FLAG = {"metavar": "N", "help": "train on the same N batches"}


def run(config: ConfigParser, value: str) -> None:
    """Train on the first `value` batches. Raises UserError where that is no number."""
    n = positive(value, "--overfit-batches")
    of_a_new_run(config, "--overfit-batches")
    if config["lr_scheduler"] is not None:
        config.read(config.config | {"lr_scheduler": None})
        line = "--overfit-batches trains without lr_scheduler"
        config.get_logger("train", config["trainer"]["verbosity"]).info(line)
    trainer = build_trainer(config)
    batches = FirstBatches(trainer.data_loader, n)
    trainer.data_loader = trainer.valid_data_loader = batches
    trainer.do_validation = True
    trainer.len_epoch, trainer.epoch_is_pass = len(batches), True
    trainer.rank_state.pop("data_loader", None)  # each epoch begins with the first of them
    trainer.train()
