"""Evaluate a checkpoint on the held-out test data. Prints a table and writes nothing.

python test.py -r saved/<name>/<run_id>/model_best.pth
"""

import argparse

from parse_config import ConfigParser
from train import build_model, part_modules
from utils.errors import UserError, exit_on_user_error


def evaluate(config):
    """The loss and metrics of the checkpoint `config.resume` on the test data, and its epoch."""
    from trainer import Trainer
    from utils import checkpoint

    state = checkpoint.load(config.resume)
    device, model, criterion, metrics = build_model(config)
    checkpoint.set_weights(model, checkpoint.weights_to_use(state), config.resume)
    # The same loader, told to give the held-out data: it must have these three arguments
    changes = {"shuffle": False, "validation_split": 0, "training": False}
    try:
        data_loader = config.init_obj("data_loader", part_modules()["data_loader"], **changes)
    except TypeError as error:
        needed = ", ".join(changes)
        raise UserError(f"data_loader: test.py calls it with {needed}: {error}") from error
    trainer = Trainer(model, criterion, metrics, None, config, device, data_loader)
    return trainer.evaluate(data_loader), state["epoch"], data_loader.n_samples


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    with exit_on_user_error():
        config = ConfigParser.from_args(parser, argv=argv, modules=part_modules)
        if config.resume is None:
            raise UserError("command line: -r CHECKPOINT is missing: which model to test")
        log, epoch, n_samples = evaluate(config)
    print(f"{config.resume}: epoch {epoch}, {n_samples:,} test samples")
    for name, value in log.items():
        print(f"{name:<20}{value:.4f}")


if __name__ == "__main__":
    main()
