"""Extras: each other file can be deleted. How they are found is in utils/extras.py."""

from parse_config import ConfigParser
from utils import distributed
from utils.errors import UserError


def for_one_process(what: str) -> None:
    """UserError where there are several: `what` is made for one."""
    if distributed.world_size() > 1:
        raise UserError(f"{what} is for one process: start it with python, not with torchrun")


def of_a_new_run(config: ConfigParser, flag: str) -> None:
    """UserError where the command line has -r: `flag` starts a run."""
    if config.resume is not None:
        raise UserError(f"{flag} starts from a config (-c), not from a checkpoint (-r)")
