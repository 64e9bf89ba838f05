"""A line where the data set changes during a run, which workers that persist do not see."""

from typing import Any

from base import BaseTrainer, Callback


class WorkerData(Callback):
    """Compares the data set's plain attributes at the ends of two epochs."""

    seen: dict[str, Any] | None = None

    def on_epoch_end(self, trainer: BaseTrainer, log: dict[str, Any]) -> None:
        loader: Any = getattr(trainer, "data_loader", None)
        if not getattr(loader, "num_workers", 0) or not loader.persistent_workers:
            return
        values = getattr(loader.dataset, "__dict__", {}).items()
        now = {name: one for name, one in values if isinstance(one, (bool, int, float, str))}
        before, self.seen = self.seen or now, now
        if changed := sorted(name for name in now if now[name] != before.get(name)):
            trainer.logger.warning(
                "The data set's %s changed, but the workers keep what they began with: with "
                "persistent_workers=False they begin anew in each pass",
                " and ".join(changed),
            )
