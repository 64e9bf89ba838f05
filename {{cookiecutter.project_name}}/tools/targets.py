"""Targets that do not fit the loss or the outputs: seen in the first step, before it is taken.

Without this file, an error of torch may tell of them later, on a GPU without saying what it was,
and nothing tells of those that give a number without a meaning.
"""

from contextlib import suppress
from functools import cached_property
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from base import BaseTrainer, Callback
from tools.check import describe
from utils.errors import UserError

CLASSES = ("cross_entropy", "nll_loss")
CHANCES = ("binary_cross_entropy_with_logits", "binary_cross_entropy")
NUMBERS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


class Targets(Callback):
    """Looks at what the losses of torch get in the first step. Not where the model is compiled."""

    def on_train_start(self, trainer: Any) -> None:
        if not hasattr(trainer, "is_last_micro_batch") or trainer.config.settings.trainer.compile:
            return
        before, calls = trainer.train_step, LossCalls(trainer)
        own = {name: step for name, step in vars(trainer).items() if name == "train_step"}
        is_over = False

        def first_step(batch: Any) -> Any:
            nonlocal is_over
            if is_over:
                return before(batch)
            is_over = trainer.is_last_micro_batch
            if is_over and vars(trainer)["train_step"] is first_step:  # else others are before it
                del vars(trainer)["train_step"]
                vars(trainer).update(own)
            with calls:
                return before(batch)

        trainer.train_step = first_step


class LossCalls(TorchFunctionMode):
    """While entered, looks at outputs and targets. Raises UserError, or warns once."""

    def __init__(self, trainer: BaseTrainer) -> None:
        super().__init__()
        self.logger, args = trainer.logger, trainer.config.settings.arch.args
        self.data_loader = getattr(trainer, "data_loader", None)
        self.keys = {n: f"arch.args.{key} = {n}" for key, n in args.items() if type(n) is int}

    @cached_property
    def n_classes(self) -> int:
        """Of the data; 0 where they do not tell, or a line has told that the outputs differ."""
        return n_classes_of(self.data_loader)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, options = getattr(func, "__name__", ""), kwargs or {}
        if name in CLASSES + CHANCES + NUMBERS and all(map(torch.is_tensor, args[:2])):
            output, target = args[:2]
            if target.numel() and not target.is_complex():
                self.look(name, output, target, options)
        return func(*args, **options)

    def look(self, name: str, output: Any, target: Any, options: dict[str, Any]) -> None:
        """Raise UserError for a target that the loss called `name` cannot mean."""
        n = output.shape[min(1, output.ndim - 1)] if output.ndim else 1
        key = self.keys.get(n, "arch.args")
        least, most = target.min().item(), target.max().item()
        is_alike = target.shape == output.shape and target.is_floating_point()
        is_mean = options.get("reduction") != "none"  # else it may be masked
        fits, wanted, advice = True, describe(output), "give both the same shape"
        if name in CLASSES and not is_alike:
            shape = tuple(output.shape[:1] + output.shape[2:]) if output.ndim > 1 else ()
            chosen = target[target != options.get("ignore_index", -100)]
            is_inside = not chosen.numel() or 0 <= chosen.min() and chosen.max() < n
            is_class = target.dtype in (torch.int64, torch.uint8) and target.shape == shape
            fits, wanted = is_class and bool(is_inside), f"int64 {shape} from 0 to {n - 1}"
            advice = f"see {key}; for other numbers there is mse_loss"
        elif name in CHANCES:
            fits, wanted = is_alike, f"{wanted} from 0 to 1"
            fits &= not is_mean or not (least < 0 or most > 1)
            advice = "for class numbers there is cross_entropy"
        elif name in NUMBERS and is_mean:
            with suppress(RuntimeError):  # shapes that torch refuses itself
                n_pairs = torch.broadcast_shapes(output.shape, target.shape).numel()
                fits = n_pairs <= max(output.numel(), target.numel())
        if not fits:
            what = f"{name} takes {wanted} as targets for {describe(output)}"
            given = f"{describe(target)} from {least:g} to {most:g}"
            raise UserError(f"loss: {what}, not {given}: {advice}")
        if name in CLASSES and output.ndim == 2 and self.n_classes not in (0, n):
            line = "%s: the outputs are for %d classes, and the data have %d"
            self.logger.warning(line, key, n, self.n_classes)
            self.n_classes = 0


def n_classes_of(data_loader: Any) -> int:
    """How many classes the data say to have, or the labels of all; 0 where neither tells."""
    dataset: Any = getattr(data_loader, "dataset", None)
    with suppress(Exception):  # other things by these names
        if classes := getattr(data_loader, "classes", getattr(dataset, "classes", None)):
            return len(classes) if isinstance(classes, (list, tuple)) else 0
        labels: Any = getattr(dataset, "targets", None)
        if labels is None:
            _, labels = dataset.tensors  # (input, target) of a TensorDataset
        labels = torch.as_tensor(labels)
        if labels.shape == (len(dataset),) and not labels.is_floating_point():
            return int(labels.max()) + 1
    return 0
