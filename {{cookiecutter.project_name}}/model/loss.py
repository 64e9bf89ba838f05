"""Losses of your own: functions of (output, target), or classes that make one.

Those of torch need not be here: "cross_entropy" or {"type": "CrossEntropyLoss", "args": {...}} in
the config finds them in torch.nn.functional and torch.nn.
"""

import torch
import torch.nn.functional as F


def focal_loss(output: torch.Tensor, target: torch.Tensor, gamma: float = 2.0) -> torch.Tensor:
    """Cross entropy with less weight on easy samples (Lin et al., 2017, equation 4)."""
    log_p = F.log_softmax(output, dim=1).gather(1, target[:, None]).squeeze(1)
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()
