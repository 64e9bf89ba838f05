import torch


def accuracy(output, target, return_length=False):
    with torch.no_grad():
        correct = torch.sum(torch.argmax(output, dim=1) == target).item()
    return (correct / len(target), len(target)) if return_length else correct / len(target)


def top2_acc(output, target, return_length=False):
    with torch.no_grad():
        correct = (torch.topk(output, 2, dim=1)[1] == target[:, None]).any(dim=1).sum().item()
    return (correct / len(target), len(target)) if return_length else correct / len(target)
