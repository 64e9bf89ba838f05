import torch.nn.functional as F


def masked_cross_entropy(output, target):
    return F.cross_entropy(output.flatten(0, 1), target.flatten(), ignore_index=0)
