from cmath import isfinite  # of complex numbers too

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

    def check(self, loss, parameters, optimizer, step, norms=None):
        """Look at a loss and at the gradients of the parameters, or at these norms of them."""
        if norms is None:
            norms = self.look_at([grad for p in parameters if (grad := p.grad) is not None])
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
        if distributed.size() > 1 and hasattr(gradients[0], "to_local"):
            # Of sharded weights: one decision for all processes
            local = torch._foreach_norm([gradient.to_local() for gradient in gradients])
            return [distributed.add_up(torch.stack(local).sum())]
        if gradients[0].is_cpu and gradients[0].dtype != torch.float16:  # whose sums overflow
            return [gradient.sum() for gradient in gradients]  # takes less time than norms of all
        if any(gradient.is_sparse for gradient in gradients):
            gradients = [g.coalesce().values() if g.is_sparse else g for g in gradients]
        return [torch.stack(torch._foreach_norm(gradients)).sum()]

    def left_out(self):
        """The first step that was left out; None where there was none. Waits for the device."""
        step = -1 if self.seen_at is None else int(self.seen_at.item())
        return None if step < 0 else step
