import torch


def dice(output, target):
    with torch.no_grad():
        found = (output > 0).float()
        return (2 * (found * target).sum() + 1) / (found.sum() + target.sum() + 1)


def precision(output, target):
    with torch.no_grad():
        found = (output > 0).float()
        return ((found * target).sum() + 1) / (found.sum() + 1)
