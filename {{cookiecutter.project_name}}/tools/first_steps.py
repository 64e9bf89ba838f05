"""Mistakes that the first steps of a run show, in one line; later steps are free of it."""

import re
from functools import partial
from traceback import walk_stack
from typing import Any

import torch

from base import Callback
from tools.check import describe
from utils.errors import UserError, in_one_line, place_of
from utils.optim import by_name, parameters_of

STEPS = 10  # are watched
ADVICE = {  # on what torch says
    r"values to unpack|Tensor, not|got \((str|list|dict)|'(str|list|dict)' obj": (
        "train_step takes (input, target), two tensors: write it for this batch"
    ),
    r"Target .* out of bounds": "arch.args are to give as many classes as the data have",
    r"target dtype|ulti-target|Target size|type Long": "cross_entropy takes int64 (N,) as targets, "
    "class numbers; other losses take floats in the shape of the output",
    r"Input type|same dtype|scalar type|Found dtype": "the data loader is to give float32",
    r"be multiplied|to have \d+ channels|size mismatch|xpected \dD": "arch.args are to fit it",
    r"range in self|out of bounds|device-side assert": "a number in it is too large for arch.args",
    r"on the same device": "what train_step or forward makes is to have device=self.device",
    r"does not require grad": "the loss is to depend on weights that are trained",
    r"for scalar outputs": "the loss is to be one number, the mean over the batch",
    r"graph a second time": "self.optimize(loss) does the backward pass: leave out loss.backward()",
}
OWN_STEP = "train_step: call self.optimize(loss): a bare optimizer.step() clips and checks nothing"
OLD_GRADIENTS = "train_step: gradients of all steps add up: self.optimize(loss) clears them first"
NO_STEP = f"{STEPS} batches, and no optimizer.step(): train_step is to call self.optimize(loss)"


class FirstSteps(Callback):
    """Is in the place of `train_step` for some steps."""

    def on_data_built(self, data_loader: Any, config: Any) -> None:
        if not hasattr(data_loader, "__iter__"):
            kind = f"a {type(data_loader).__name__} has no __iter__, so it gives no batches"
            raise UserError(f"data_loader.type = {config['data_loader']['type']!r}: {kind}")

    def on_train_start(self, trainer: Any) -> None:
        self.trainer, self.n_steps, self.handles = trainer, 0, []
        if not hasattr(trainer, "is_first_micro_batch"):
            return  # a loop of its own
        optimizers = [x for x in by_name(trainer.optimizer).values() if hasattr(x, "param_groups")]
        self.handles = [x.register_step_pre_hook(self.on_step) for x in optimizers]
        self.old_gradients: dict[Any, bool | None] = {}  # in the next step; None: not known yet
        self.train_step, trainer.train_step = trainer.train_step, self.watched_step

    def on_train_end(self, trainer: Any, outcome: str) -> None:
        for handle in vars(self).get("handles", ()):
            handle.remove()
        if vars(trainer).get("train_step") == self.watched_step:
            del vars(trainer)["train_step"]
            if getattr(self.train_step, "__self__", None) is not trainer:  # set by others
                trainer.train_step = self.train_step
        vars(self).clear()  # it had the trainer, which had it

    def watched_step(self, batch: Any) -> Any:
        """The same as `train_step`, whose errors are explained."""
        train_step = self.train_step
        self.n_steps += self.trainer.is_first_micro_batch
        if self.n_steps > STEPS:
            if not self.old_gradients:
                self.trainer.logger.warning(NO_STEP)
            self.on_train_end(self.trainer, "")
            return train_step(batch)
        try:
            return train_step(batch)
        except Exception as error:
            advice = next((x for k, x in ADVICE.items() if re.search(k, str(error))), None)
            if advice is None or isinstance(error, UserError):
                raise
            words = f"{place_of(error)}{in_one_line(error)}".rstrip(".")
            what = describe(batch)
            if re.fullmatch(r"u?int\d+ \(\d+,\), float\d+ \(\d+, .+\)", what):  # swapped
                advice = "the data loader is to give (input, target)"
            self.trainer.logger.info("In full:", exc_info=error, extra={"is_shown": True})
            raise UserError(f"{words}; the batch is {what}: {advice}") from error

    def on_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before a step of an optimizer, whoever takes it."""
        if self.old_gradients.get(optimizer):
            raise UserError(OLD_GRADIENTS)
        if optimizer not in self.old_gradients:
            callers = {frame.f_code.co_name for frame, _ in walk_stack(None)}
            has_closure = len(args) > 1 or kwargs.get("closure")
            if "optimize" not in callers and "watched_step" in callers and not has_closure:
                self.trainer.logger.warning(OWN_STEP)
            found = [p for p in parameters_of(optimizer) if type(p.grad) is torch.Tensor]
            for p in [p for p in found if p.grad.layout is torch.strided][:1]:
                self.handles.append(p.register_hook(partial(self.on_gradient, optimizer, p)))
        self.old_gradients[optimizer] = None

    def on_gradient(self, optimizer: Any, parameter: Any, gradient: Any) -> None:
        """Before a gradient is added to that of a parameter."""
        has_old = parameter.grad is not None and bool(parameter.grad.any())
        self.old_gradients[optimizer] = has_old and self.old_gradients[optimizer] is not False
