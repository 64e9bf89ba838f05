"""One epoch of a few batches of training and of validation, everything else as in a real run."""

from parse_config import ConfigParser
from tools import of_a_new_run
from tools.first_batches import FirstBatches
from train import build_trainer
from utils.errors import UserError

FLAG = {"metavar": "N", "help": "a run on N batches of each phase"}


def run(config: ConfigParser, value: str) -> None:
    """Train for one epoch of `value` batches. Raises UserError where that is no number."""
    n = positive(value, "--fast-dev-run")
    of_a_new_run(config, "--fast-dev-run")
    trainer = build_trainer(config)
    trainer.epochs = 1
    trainer.len_epoch, trainer.epoch_is_pass = min(n, trainer.len_epoch), False
    if trainer.do_validation:
        trainer.valid_data_loader = FirstBatches(trainer.valid_data_loader, n)
    trainer.train()


def positive(text: str, flag: str) -> int:
    """The number that a flag was given. Raises UserError where it is none."""
    if not text.isdecimal() or text == "0":
        raise UserError(f"command line: {flag}: {text!r} is not a whole number, 1 or more")
    return int(text)
