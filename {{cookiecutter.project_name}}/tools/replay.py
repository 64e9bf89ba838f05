"""Repeat the step that a black box holds, with torch looking for the operation that went wrong."""

from pathlib import Path

import torch

from parse_config import ConfigParser
from train import build_trainer
from utils import checkpoint
from utils.errors import NotFinite, UserError
from utils.optional import need_tool


def run(_, path):
    """`path` is a black box, or a run directory: then the newest in it."""
    if Path(path).is_dir():
        boxes = sorted(Path(path).glob("black_box_*.pt"), key=lambda box: box.stat().st_mtime_ns)
        if not boxes:
            raise UserError(f"{path}: has no black box in it")
        path = boxes[-1]
    state = checkpoint.load(path)
    config = ConfigParser(state["config"], source=path)
    trainer = build_trainer(config)
    config.discard_run()
    checkpoint.set_weights(trainer.model, state["state_dict"], path)
    checkpoint.set_state(trainer.optimizer, state["optimizer"])
    trainer.model.train()
    need_tool("finite", "--replay").set_torch_state(state["torch_random"], trainer.device)
    trainer.guard.may_wait = True
    trainer.train_metrics.reset()
    try:
        with torch.autograd.detect_anomaly(check_nan=True):
            trainer._step(state["batches"])
    except NotFinite as error:
        print(f"Repeated: {error}")
    except RuntimeError as error:  # of the anomaly detection, which has printed the place
        print(f"Repeated: {error}")
    else:
        print(f"Not repeated: the step gives {trainer.train_metrics.result()}")
