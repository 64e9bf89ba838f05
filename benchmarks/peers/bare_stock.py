"""The loop as one writes it by hand, with torch's DataLoader, sample by sample."""

from peers.bare import train


def run(work):
    loader = work.loader()
    train(work, lambda: loader)
