"""When a trainer saves, and how it leaves when a signal asks."""

from functools import partial
from signal import Signals
from time import monotonic
from typing import Any

from utils import checkpoint, distributed, trainer_state
from utils.errors import RunError
from utils.run_dir import LAST_NAME


def save(trainer: Any, epochs_done: int, names: list[str]) -> None:
    """Begin to write the present state under all `names`; training goes on meanwhile."""
    trainer.writer.flush()
    state = trainer_state.collect(trainer, epochs_done)
    paths = [trainer.checkpoint_dir / name for name in names]
    keep_last = trainer.config.settings.trainer.keep_last
    clean_up = partial(checkpoint.remove_old, trainer.checkpoint_dir, keep_last, epochs_done)
    trainer.saver.save(state, *paths, then=clean_up)
    trainer.saved_at, trainer.saved_step = monotonic(), trainer.step


def save_or_stop_if_due(trainer: Any) -> None:
    """Between two steps: save as `save_every` says, and leave if a signal asks."""
    every = trainer.config.settings.trainer.save_every
    is_due = every.steps is not None and trainer.step % every.steps == 0
    save_at = 0  # the step at which `minutes` are over
    if every.minutes is not None and distributed.is_main():
        are_over = monotonic() - trainer.saved_at >= 60 * every.minutes
        save_at = trainer.step if are_over else 0
    signal, save_at = distributed.latest_max(trainer.stop_signals.received, save_at)
    if is_due or save_at > trainer.saved_step:  # else it was saved since
        trainer._save(trainer.epoch - 1, [LAST_NAME])
    stop_if_asked(trainer, trainer.epoch - 1, signal)


def stop_if_asked(trainer: Any, epochs_done: int, signal: int) -> None:
    """Where `signal` is not 0, save and raise RunError with the exit status of that signal."""
    if signal:
        trainer._save(epochs_done, [LAST_NAME])
        distributed.on_main(trainer.saver.wait)  # no process leaves before it is complete
        name = Signals(signal).name
        raise RunError(f"stopped by {name}", status=128 + signal)
