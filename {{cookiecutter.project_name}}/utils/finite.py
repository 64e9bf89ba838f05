from math import isfinite

import torch

from utils import distributed


class NotFinite(ArithmeticError):
    """A loss or a gradient is infinite or not a number; the optimizer has not stepped."""


class FiniteGuard:
    """Keeps what is not finite from the weights.

    On the CPU NotFinite is raised before the step. On a GPU that would wait for the device, so a
    fused optimizer is told there to leave out this step and all that follow, and `left_out` tells
    of it, whenever somebody waits for the device anyway.
    """

    def __init__(self, may_wait, is_shared=False):
        self.may_wait = may_wait
        self.is_shared = is_shared  # all of several processes leave out the step, or none
        self.seen_at = None  # on the device: the first step left out, -1 while there is none

    def check(self, loss, optimizer, step, norms=None):
        """Look at a loss and at the gradients that `optimizer` would use, or at these norms."""
        if norms is None:
            norms = self.look_at(gradients_of(optimizer))
        if self.may_wait or not getattr(optimizer, "_step_supports_amp_scaling", False):
            fault = None
            if not all(isfinite(norm.item()) for norm in norms):
                fault = "a gradient is not finite"
            if not isfinite(value := loss.item()):
                fault = f"the loss is {value}"
            if self.is_shared and any(distributed.Votes().cast(fault is not None, wait=True)):
                fault = fault or "the loss of another process is not finite"
            if fault is not None:
                raise NotFinite(fault)
            return
        total = loss.detach().float().reshape(()) + sum(norms)
        if self.seen_at is None:
            self.seen_at = total.new_full((), -1)
        is_first = (self.seen_at < 0) & ~total.isfinite()
        self.seen_at = torch.where(is_first, float(step), self.seen_at)
        optimizer.found_inf = (self.seen_at >= 0).float()  # torch's own name, for its GradScaler

    def look_at(self, gradients):
        """Numbers that are finite exactly if the gradients are, barring an overflow."""
        if not gradients:
            return []
        if hasattr(gradients[0], "to_local"):  # of sharded weights: one decision for all processes
            local = torch._foreach_norm([gradient.to_local() for gradient in gradients])
            return [distributed.add_up(torch.stack(local).sum())]
        if any(gradient.is_sparse for gradient in gradients):
            gradients = [g.coalesce().values() if g.is_sparse else g for g in gradients]
        norms = torch._foreach_norm(gradients)
        return norms if norms[0].is_cpu else [torch.stack(norms).sum()]

    def left_out(self):
        """The first step that was left out; None where there was none. Waits for the device."""
        step = -1 if self.seen_at is None else int(self.seen_at.item())
        return None if step < 0 else step


def gradients_of(optimizer):
    groups = optimizer.param_groups
    return [grad for one in groups for p in one["params"] if (grad := p.grad) is not None]
