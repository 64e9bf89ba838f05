"""Lets a run go on with more or fewer processes than its checkpoint is of.

Without this file, another number is refused.
"""

import copy
from typing import Any

from torch.utils.data import IterableDataset

from base import BaseTrainer, Callback
from utils import distributed
from utils.checkpoint import State, pack
from utils.errors import UserError
from utils.meter import MetricTracker, add_to, name_of
from utils.resume import unpack
from utils.seed import get_random_state


class WorldSize(Callback):
    """Makes a state for each process of those that a checkpoint has."""

    def on_checkpoint_load(self, trainer: BaseTrainer, state: dict[str, Any]) -> None:
        before, n = [{**state}, *state["ranks"]], distributed.world_size()
        if state["random"] is None or len(before) == n:
            return  # other code has written it, or there is nothing to do
        line = "processes: %d -> %d from step %d on"
        trainer.logger.info(line, len(before), n, state["step"])
        after = [state_of_rank(trainer, before, rank) for rank in range(n)]
        state |= after[0]
        state["ranks"] = after[1:]


def state_of_rank(trainer: BaseTrainer, before: list[State], rank: int) -> State:
    """The state of one process; the first ones take in what those that are gone have measured.

    Raises UserError for what cannot be taken in, and for a loader that is for as many processes.
    """
    own: State = {**before[rank]} if rank < len(before) else {"random": get_random_state()}
    loader, n = trainer.rank_state.get("data_loader"), distributed.world_size()
    if (position := before[0].get("data_loader")) is not None and loader is not None:
        is_stream = isinstance(getattr(loader, "dataset", None), IterableDataset)
        if is_stream or not hasattr(loader, "n_samples_mean"):  # else a BaseDataLoader
            what = f"{trainer.config.resume}: a {type(loader).__name__} has a state in each process"
            raise UserError(f"{what}: go on with {len(before)} of them, not with {n}")
        own["data_loader"] = position  # the same in all
    own.setdefault("criterion", before[0].get("criterion"))
    own["train_metrics"] = None
    if "train_metrics" in trainer.rank_state and before[0]["batch_idx"] > 0:
        found = [one.get("train_metrics") for one in before[rank::n]]
        states = [unpack(state, trainer.device) for state in found if state is not None]
        together = merged(trainer.rank_state["train_metrics"], states)
        own["train_metrics"] = pack(together, trainer.device)
    return own


def merged(tracker: MetricTracker, states: list[State]) -> State | None:
    """What several processes have measured, as the state of one; None where there is none."""
    if len(states) < 2:
        return states[0] if states else None
    together = copy.deepcopy(tracker)
    together.load_state_dict(states[0])
    for state in states[1:]:
        for key, (total, n) in state["sums"].items():
            add_to(together.sums(), key, total, n)
        for metric in together.collectors:
            if not hasattr(metric, "merge"):
                what = f"{name_of(metric)} cannot take in what another process has collected"
                how = "it needs a method merge, or as many processes as before"
                raise UserError(f"metrics: {what}: {how}")
            if name_of(metric) in state["collected"]:
                metric.merge(state["collected"][name_of(metric)])
    return together.state_dict()
