def rmse(output, target):
    return (output - target).pow(2).mean().sqrt()


def deltas(output, target, i):
    return ((output - target).abs() < 0.25 * i).float().mean()
