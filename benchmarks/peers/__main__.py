"""python -m peers KIND WORK: train endlessly, an epoch for each line of standard input."""

import os
import sys
from importlib import import_module

from peers import turns

if __name__ == "__main__":
    kind, name = sys.argv[1:]
    turns.take_stdout()
    import torch

    torch.set_num_threads(1)
    from peers.work import WORKS

    with turns.temporary_folder():
        import_module(f"peers.{kind}").run(WORKS[name])
    sys.exit(f"{kind} ended by itself in {os.getcwd()}")
