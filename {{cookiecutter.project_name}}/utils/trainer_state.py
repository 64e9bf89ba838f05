"""What a checkpoint holds of a trainer, and how a trainer takes it up again."""

from typing import Any

from utils import checkpoint, distributed
from utils.errors import UserError
from utils.optim import by_name
from utils.seed import get_random_state, set_random_state

# What a checkpoint has beside `trainer.state` and `trainer.rank_state`
OWN_KEYS = """arch epoch step batch_idx state_dict optimizer lr_scheduler monitor_best
not_improved_count random ranks config""".split()


def collect(trainer: Any, epochs_done: int) -> checkpoint.State:
    """The state of a trainer, as tensors and plain types; the same in all processes.

    `trainer.state` and `trainer.rank_state` map names to objects with `state_dict`; the latter are
    different in each process.
    """
    model = distributed.unwrap(trainer.model)
    own = {"random": get_random_state(), **checkpoint.get_state(trainer.rank_state)}
    ranks = distributed.all_gather(own)
    return {
        "arch": type(model).__name__.removeprefix("FSDP"),
        "epoch": epochs_done,
        "step": trainer.step,
        "batch_idx": trainer.batch_idx,
        "state_dict": model.state_dict(),
        "optimizer": checkpoint.get_state(trainer.optimizer),
        "lr_scheduler": checkpoint.get_state(trainer.lr_scheduler),
        "monitor_best": trainer.mnt_best,
        "not_improved_count": trainer.not_improved_count,
        **checkpoint.get_state(trainer.state),
        **ranks[0],
        "ranks": ranks[1:],
        "config": trainer.config.config,
    }


def check(trainer: Any) -> None:
    """Raises UserError where a checkpoint could not hold a state of `trainer`, or not read it."""
    for name, thing in (trainer.state | trainer.rank_state).items():
        if name in OWN_KEYS:
            raise UserError(f"trainer.state[{name!r}]: a checkpoint has a {name} of its own")
        if thing is trainer.rank_state.get("data_loader"):  # some start workers to tell their state
            continue
        try:
            checkpoint.to_plain(checkpoint.get_state(thing), name)
        except (AttributeError, TypeError) as error:
            raise UserError(f"trainer.state[{name!r}]: {error}") from None


def restore(trainer: Any, state: checkpoint.State) -> None:
    """The counterpart of `collect`. Raises UserError where the weights or the data do not fit."""
    model = distributed.unwrap(trainer.model)
    trainer.config.before = state["config"]
    checkpoint.set_weights(model, state["state_dict"], trainer.config.resume)
    objects = {"optimizer": trainer.optimizer, "lr_scheduler": trainer.lr_scheduler}
    for name, thing in objects.items():
        checkpoint.set_state(thing, state.get(name))
    for name, thing in trainer.state.items():
        checkpoint.set_state(thing, state.get(name) or None)  # {} is that of a switch which was off
    trainer.start_epoch = state["epoch"] + 1
    trainer.step, trainer.batch_idx = state["step"], state["batch_idx"]
    for optimizer in by_name(trainer.optimizer).values() if trainer.step else ():
        optimizer._opt_called = True  # torch's own name: else it warns of a scheduler's next step
    if state["monitor_best"] is not None:
        trainer.mnt_best = float(state["monitor_best"])
        trainer.not_improved_count = state["not_improved_count"]
    ranks = [state, *state["ranks"]]
    own = ranks[distributed.rank() :: distributed.world_size()]  # with fewer processes, several
    if own and own[0]["random"] is not None:
        set_random_state(own[0]["random"])
    for name, thing in trainer.rank_state.items():
        is_used = name != "data_loader" and (name != "train_metrics" or trainer.batch_idx > 0)
        for rank in own if is_used else ():
            checkpoint.set_state(thing, rank.get(name))
    restore_loader(trainer, state, ranks)


def restore_loader(trainer: Any, state: checkpoint.State, ranks: list[checkpoint.State]) -> None:
    """Bring the data loader to where it was; say so where that cannot be.

    Raises UserError for one whose state is of as many processes as there are no longer.
    """
    has_state, n = "data_loader" in trainer.rank_state, distributed.world_size()
    loader = (trainer.rank_state if has_state else vars(trainer)).get("data_loader")
    if has_state and state["data_loader"] is not None:
        is_same_in_all = hasattr(loader, "n_samples_mean")  # of a BaseDataLoader
        if len(ranks) != n and not is_same_in_all:
            what = f"{trainer.config.resume}: a {type(loader).__name__} has a state in each process"
            raise UserError(f"{what}: go on with {len(ranks)} of them, not with {n}")
        loader.load_state_dict(ranks[0 if is_same_in_all else distributed.rank()]["data_loader"])
    elif trainer.batch_idx > 0 or (trainer.step > 0 and not trainer.epoch_is_pass):
        of_checkpoint = "checkpoint has no state of the data loader"
        what = of_checkpoint if has_state else "data loader has no state_dict"
        line = "The %s: its pass starts again, and samples may come twice in epoch %d"
        trainer.logger.warning(line, what, state["epoch"] + 1)
        if hasattr(loader, "n_samples_mean"):
            loader.set_epoch(trainer.config.settings.seed, state["epoch"])
