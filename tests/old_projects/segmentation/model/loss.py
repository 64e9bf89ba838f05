import torch


def dice_loss(output, target):
    p = torch.sigmoid(output)
    return 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
