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
        self.found, self.one = torch.zeros(()), torch.ones(())
        self.seen_at = None  # on the device: the first step left out, -1 while there is none

    def check(self, loss, parameters, optimizer, step, norms=None):
        """Look at a loss and at the gradients of the parameters, or at these norms of them."""
        if norms is None:
            faults = self.look_at([grad for p in parameters if (grad := p.grad) is not None])
        else:
            faults = [~norm.isfinite() for norm in norms]
        if self.may_wait or not getattr(optimizer, "_step_supports_amp_scaling", False):
            fault = "a gradient is not finite" if any(one.item() for one in faults) else None
            if not isfinite(value := loss.item()):
                fault = f"the loss is {value}"
            if self.is_shared and any(distributed.Votes().cast(fault is not None, wait=True)):
                fault = fault or "the loss of another process is not finite"
            if fault is not None:
                self.found.zero_()
                raise NotFinite(fault)
            return
        is_bad = sum(faults, ~loss.detach().isfinite().reshape(())) > 0
        if self.seen_at is None:
            self.seen_at = is_bad.new_full((), -1, dtype=torch.float)
        self.seen_at = torch.where((self.seen_at < 0) & is_bad, float(step), self.seen_at)
        optimizer.found_inf = (self.seen_at >= 0).float()  # torch's own name, for its GradScaler

    def look_at(self, gradients):
        """Numbers of which one is not zero exactly if a gradient is not finite."""
        if not gradients:
            return []
        if distributed.size() > 1 and hasattr(gradients[0], "to_local"):
            # Of sharded weights: one decision for all processes
            local = torch._foreach_norm([gradient.to_local() for gradient in gradients])
            return [~distributed.add_up(torch.stack(local).sum()).isfinite()]
        if gradients[0].is_cpu:
            try:  # what GradScaler calls: of all ways the one that takes the least time
                torch._amp_foreach_non_finite_check_and_unscale_(gradients, self.found, self.one)
                return [self.found]
            except RuntimeError:  # for sparse and for complex numbers
                pass
        gradients = [g.coalesce().values() if g.is_sparse else g for g in gradients]
        return [~torch.stack(torch._foreach_norm(gradients)).sum().isfinite()]

    def left_out(self):
        """The first step that was left out; None where there was none. Waits for the device."""
        step = -1 if self.seen_at is None else int(self.seen_at.item())
        return None if step < 0 else step
