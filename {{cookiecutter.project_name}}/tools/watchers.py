"""The callbacks of a trial that is to be as a training: all but those that only watch."""

from typing import Any

from tools.check import OneProcess

# Files whose callbacks write and watch, but change nothing about a training
WATCHERS = """bar changes data_wait from_data manifest pictures progress_metrics record replay
report save_minutes trackers""".split()


def leave_out_watchers(trainer: Any) -> None:
    """Let only such callbacks take part as may change a training, those of the user among them."""
    watchers = {f"tools.{name}" for name in WATCHERS}
    others = [x for x in trainer.callbacks if type(x).__module__ not in watchers]
    trainer.callbacks = [x for x in others if not isinstance(x, OneProcess)]


def set_up(trainer: Any) -> None:
    """What callbacks do before the first step of a training of which no run is kept."""
    leave_out_watchers(trainer)
    for callback in trainer.callbacks:
        callback.on_setup(trainer)
    for callback in trainer.callbacks:
        callback.on_train_start(trainer)
