"""Losses of your own: functions that the config can name, as those of torch.nn.functional.

A score is the discriminator's for one image: high where it takes the image for a real one.
"""

import torch
import torch.nn.functional as F


def discriminator_loss(real_scores: torch.Tensor, made_scores: torch.Tensor) -> torch.Tensor:
    """Low where real images have high scores and made ones low scores."""
    return (F.softplus(-real_scores) + F.softplus(made_scores)).mean()


def generator_loss(made_scores: torch.Tensor) -> torch.Tensor:
    """Low where made images are taken for real ones (Goodfellow et al., 2014, "non-saturating")."""
    return F.softplus(-made_scores).mean()
