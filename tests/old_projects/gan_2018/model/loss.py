import torch
import torch.nn.functional as F


def gan_loss(output, is_real):
    target = torch.ones_like(output) if is_real else torch.zeros_like(output)
    return F.binary_cross_entropy_with_logits(output, target)
