"""Prove on the user's own model and data that an interrupted run ends as one that was not.

Trains a few steps straight, twice, and once with interruptions in the middle of two epochs, all in
a temporary folder, and compares the batches and the ends bit by bit.
"""

import gc
import signal
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from parse_config import ConfigParser
from tools import for_one_process, of_a_new_run
from tools.compare import first_difference
from tools.watchers import leave_out_watchers
from train import build_trainer
from utils import resume
from utils.command_line import end_workers
from utils.errors import RunError, UserError
from utils.run_dir import LAST_NAME

FLAG = {"action": "store_true", "help": "prove that an interrupted run ends as one that was not"}
STEPS = 6  # in each of two epochs
STOP_AFTER = 4  # and in each of the two once
STATELESS = "the data loader has no state_dict, so a resumed epoch begins anew"
LOADER = "its load_state_dict does not bring the data loader back to where it was"
DRAWN = "their order, or what is random in them, comes from something else than the seed"
NO_STEPS = "--verify-resume: the trainer is to call self._save_or_stop_if_due after each step"
FORGOTTEN = "it keeps a state that its state_dict does not have"
REASONS = {
    "state_dict": "something is drawn from other random states than Python's, NumPy's and torch's, "
    "or the model, the trainer or a callback keeps a state that the checkpoint does not have",
    "data_loader": LOADER,
    "random": "something draws a different number of random numbers after a resume",
}


class End(NamedTuple):
    """What a run came to."""

    state: dict[str, Any]
    batches: list[str]  # a digest of each that it has trained on


def run(config: ConfigParser, _: Any) -> None:
    """Raises UserError that names what differs, and what is likely to be the reason."""
    for_one_process("--verify-resume")
    of_a_new_run(config, "--verify-resume")
    with TemporaryDirectory() as folder:
        straight = train(config, folder, [None])
        compare(straight, train(config, folder, [None]), "two straight runs", is_resumed=False)
        resumed = train(config, folder, [STOP_AFTER, STEPS + STOP_AFTER, None])
        compare(straight, resumed, "a straight and a resumed run", is_resumed=True)
    print(f"Proven: {2 * STEPS} steps, straight and interrupted twice, end bit for bit the same.")


def train(config: ConfigParser, folder: str, stops: list[int | None]) -> End:
    """The end of a run that is stopped after so many steps, and resumed, up to its end at None."""
    last: Path | None = None
    batches: list[str] = []
    for stop_at in stops:
        trainer = make_trainer(config, folder, last)
        interrupt(trainer, stop_at, batches)
        last = trainer.checkpoint_dir / LAST_NAME
    assert last is not None
    return End(resume.load(last), batches)


def make_trainer(config: ConfigParser, folder: str, resume: Path | None) -> Any:
    end_workers()  # of the training before: gc would wait for each
    gc.collect()  # a worker would complain of the iterators of the training before
    changes = {"save_dir": folder, "epochs": 2, "len_epoch": STEPS, "verbosity": 0}
    changes["len_epoch"] *= config["trainer"]["accumulate_steps"]
    changes |= {"tensorboard": False, "trackers": [], "early_stop": None, "keep_last": None}
    settings = config.config | {"trainer": config["trainer"] | changes}
    trainer = build_trainer(ConfigParser(settings, resume=resume, source=config.source))
    leave_out_watchers(trainer)
    return trainer


def interrupt(trainer: Any, stop_at: int | None, batches: list[str]) -> None:
    """Train until `stop_at` steps are done, as if SIGTERM came; add a digest of each batch."""
    save_or_stop_if_due = trainer._save_or_stop_if_due
    epoch_batches: Any = getattr(trainer, "_epoch_batches", None)  # None in a loop of one's own

    def stop_or_go_on() -> None:
        if trainer.step == stop_at:
            trainer.stop_signals.received = signal.SIGTERM
        save_or_stop_if_due()

    def noted() -> Iterator[Any]:
        for item in epoch_batches():
            batches.append(digest(item[0]))
            yield item

    trainer._save_or_stop_if_due, trainer._epoch_batches = stop_or_go_on, noted
    trainer.asks_each_step = True
    trainer.logger.disabled = True  # the interruption is no news
    try:
        trainer.train()
    except RunError as error:
        if error.status != 128 + signal.SIGTERM:
            raise RunError(str(error), error.status) from None  # not shown yet
    else:
        if stop_at is not None:
            raise UserError(NO_STEPS)
    finally:
        trainer.logger.disabled = False


def digest(batch: Any) -> str:
    """A short text that changes with the tensors, arrays, texts and numbers in a batch."""
    result = blake2b()
    for content in contents(batch):
        result.update(content)
    return result.hexdigest()


def contents(value: Any) -> Iterator[bytes]:
    if isinstance(value, (list, tuple, Mapping)):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from contents(one)
    elif isinstance(value, torch.Tensor):
        torch.save(value.detach().clone(), file := BytesIO())  # a sparse one has no bytes itself
        yield file.getvalue()
    elif hasattr(value, "tobytes"):
        yield value.tobytes()
    elif isinstance(value, (str, bytes, bool, int, float)):
        yield repr(value).encode()


def compare(a: End, b: End, what: str, is_resumed: bool) -> None:
    """Raises UserError for the first difference, a batch before what was learnt from it."""
    for index, (one, other) in enumerate(zip(a.batches, b.batches, strict=False)):
        if one != other:
            has_position = a.state.get("data_loader") is not None
            likely = DRAWN if not is_resumed else LOADER if has_position else STATELESS
            raise UserError(f"{what} differ in batch {index + 1} of the data. Likely: {likely}")
    for part in [key for key in a.state if key != "config"]:
        if difference := first_difference(a.state[part], b.state.get(part), part):
            likely = REASONS.get(part, FORGOTTEN) if is_resumed else "see deterministic"
            raise UserError(f"{what} differ in {difference}. Likely: {likely}")
