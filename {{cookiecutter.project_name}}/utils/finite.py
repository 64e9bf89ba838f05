from math import isfinite

import torch


class NotFinite(ArithmeticError):
    """A loss or a gradient is infinite or not a number; the optimizer has not stepped."""


def check_finite(loss, optimizer):
    """Raise NotFinite if the loss or a gradient that `optimizer` would use is not finite."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    norms = [norm.float() for norm in torch._foreach_norm(dense)]
    if not isfinite(torch.stack([loss.detach().float().reshape(()), *norms]).sum().item()):
        value = loss.item()
        raise NotFinite("a gradient is not finite" if isfinite(value) else f"the loss is {value}")
