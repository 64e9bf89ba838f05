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

    def __init__(self, may_wait):
        self.may_wait = may_wait
        self.seen_at = (
            None  # on the device: the first step that was left out, -1 while there is none
        )

    def check(self, loss, optimizer, step, norm=None):
        """Look at a loss and at the gradients that `optimizer` would use, or at their `norm`."""
        total = loss.detach().float().reshape(())
        total = total + (sum_of_norms(optimizer) if norm is None else norm)
        if self.may_wait or not getattr(optimizer, "_step_supports_amp_scaling", False):
            if not isfinite(total.item()):
                value = loss.item()
                what = "a gradient is not finite" if isfinite(value) else f"the loss is {value}"
                raise NotFinite(what)
            return
        if self.seen_at is None:
            self.seen_at = total.new_full((), -1)
        is_first = (self.seen_at < 0) & ~total.isfinite()
        self.seen_at = torch.where(is_first, float(step), self.seen_at)
        optimizer.found_inf = (self.seen_at >= 0).float()  # torch's own name, for its GradScaler

    def left_out(self):
        """The first step that was left out; None where there was none. Waits for the device."""
        step = -1 if self.seen_at is None else int(self.seen_at.item())
        return None if step < 0 else step


def sum_of_norms(optimizer):
    """Finite exactly if all gradients that `optimizer` would use are, short of an overflow."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    local = [g.to_local() if hasattr(g, "to_local") else g for g in dense]  # of sharded weights
    total = sum(norm.float() for norm in torch._foreach_norm(local)) if local else 0
    is_part = any(g is not whole for g, whole in zip(local, dense, strict=True))
    return distributed.add_up(total) if is_part else total
