"""Repeat the step that a black box holds, with torch looking for the operation that went wrong."""

import torch

from parse_config import ConfigParser
from train import build_trainer
from utils import checkpoint
from utils.device import to_device
from utils.finite import NotFinite


def run(_, path):
    state = checkpoint.load(path)
    config = ConfigParser(state["config"], source=path)
    trainer = build_trainer(config)
    config.discard_run()
    checkpoint.set_weights(trainer.model, state["state_dict"], path)
    checkpoint.set_state(trainer.optimizer, state["optimizer"])
    trainer.model.train()
    torch.set_rng_state(state["torch_random"])
    try:
        with torch.autograd.detect_anomaly(check_nan=True):
            values = trainer.train_step(to_device(state["batch"], trainer.device))
    except NotFinite as error:
        print(f"Repeated: {error}")
    except RuntimeError as error:  # of the anomaly detection, which has printed the place
        print(f"Repeated: {error}")
    else:
        print(f"Not repeated: the step gives { ({key: float(v) for key, v in values.items()}) }")
