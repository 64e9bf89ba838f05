def token_accuracy(output, target):
    mask = target != 0
    return ((output.argmax(dim=2) == target) & mask).sum().float() / mask.sum()
