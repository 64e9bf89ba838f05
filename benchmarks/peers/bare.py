"""The loop as one writes it by hand; batches come from indexing a tensor, where there is one."""

import torch
import torch.nn.functional as F

from peers.turns import turn
from peers.work import SmallConv


def run(work):
    loader = work.loader() if work.model is SmallConv else None  # no tensor to index
    train(work, lambda: loader or batches_of(work))


def batches_of(work):
    for indices in torch.randperm(work.n).split(work.batch):
        yield work.take(indices)


def train(work, batches):
    device = torch.device("cuda" if work.on_gpu and torch.cuda.is_available() else "cpu")
    model, optimizer = work.parts()
    model.to(device)
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda")
    if device.type == "cuda":
        model.compile()
    while True:
        turn()
        model.train()
        sums = torch.zeros(3, device=device).unbind()
        for data, target in batches():
            data, target = (x.to(device, non_blocking=True) for x in (data, target))
            n = len(target)
            optimizer.zero_grad()
            with autocast:
                output = model(data)
                loss = F.cross_entropy(output, target)
            loss.backward()
            optimizer.step()
            sums[0].add_(loss.detach(), alpha=n)
            if work.has_metrics:
                with torch.no_grad():
                    hits = (output.argmax(dim=1) == target).float().mean()
                    top = (output.topk(3, dim=1).indices == target[:, None]).any(dim=1)
                    sums[1].add_(hits, alpha=n)
                    sums[2].add_(top.float().mean(), alpha=n)
        [one.item() / work.n for one in sums]
