import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class LDAMLoss(nn.Module):
    require_num_experts = True

    def __init__(self, cls_num_list=None, num_experts=1, max_m=0.5, s=30, diversity_factor=-0.2):
        super().__init__()
        margins = 1.0 / np.sqrt(np.sqrt(np.array(cls_num_list, dtype=np.float)))
        margins = margins * (max_m / np.max(margins))
        self.margins = torch.tensor(margins, dtype=torch.float)
        self.num_experts = num_experts
        self.s = s
        self.diversity_factor = diversity_factor

    def to(self, device):
        super().to(device)
        self.margins = self.margins.to(device)
        return self

    def _hook_before_epoch(self, epoch):
        self.epoch = epoch

    def forward(self, output_logits, target, extra_info=None):
        index = F.one_hot(target, output_logits.shape[1]).bool()
        margin = torch.where(index, output_logits - self.margins[None], output_logits)
        loss = F.cross_entropy(self.s * margin, target)
        if extra_info is not None:
            loss = loss + self.diversity_factor * F.softmax(extra_info['logits'], dim=-1).var(dim=0).mean()
        return loss
