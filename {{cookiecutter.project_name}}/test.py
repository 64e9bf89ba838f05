"""Evaluate a checkpoint on the held-out test data. Prints a table and writes nothing.

python test.py -r saved/<name>/<run_id>/model_best.pth
python test.py -r best                                        of the newest run of this name

In code of your own, `from test import load_model` gives a trained model: see docs/runs.md.
"""

from pathlib import Path
from typing import Any

from parse_config import ConfigParser
from train import build_model, part_modules
from utils import distributed
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import UserError


def load_model(path: str | Path, device: str = "auto") -> Any:
    """The model of a checkpoint, or of "best" or "auto", in evaluation mode, and nothing else."""
    from utils import resume, seed
    from utils.device import get_device

    config: Any = ConfigParser.from_args(CommandLine(None), argv=["-r", str(path)], to_train=False)
    with seed.preserved_random_state():
        model = config.init_obj("arch", part_modules()["arch"])
    weights = resume.weights_to_use(resume.load(config.resume))
    resume.set_weights(model, weights, config.resume)
    return model.to(get_device(device)).eval()


def build_trained(config: ConfigParser) -> tuple[Any, Any, Any, list[Any], int]:
    """What `build_model` gives, with the weights of `config.resume`, and the epoch of these."""
    from utils import checkpoint, resume

    if config.resume is None:
        raise UserError("command line: -r CHECKPOINT is missing: which model to test")
    config.save_dir = config.resume.parent  # no run begins here
    state = resume.load(config.resume)
    device, model, criterion, metrics = build_model(config)
    resume.set_weights(model, resume.weights_to_use(state), config.resume)
    resume.keep_loss(state, config)
    resume.set_state(checkpoint.with_state(criterion), state.get("criterion"))
    return device, model.eval(), criterion, metrics, state["epoch"]


def build_test_loader(config: ConfigParser) -> Any:
    """The held-out data. Raises UserError where the loader does not take what says so."""
    from utils.seed import seed_everything

    seed_everything(config["seed"], config["deterministic"])  # as in training, for a random split
    changes = {"shuffle": False, "validation_split": 0, "training": False}
    if "drop_last" in config.settings.data_loader.args:
        changes["drop_last"] = False
    try:
        return config.init_obj("data_loader", part_modules()["data_loader"], **changes)
    except TypeError as error:
        needed = ", ".join(changes)
        raise UserError(f"data_loader: test.py calls it with {needed}: {error}") from error


def load(config: ConfigParser) -> tuple[Any, int]:
    """A trainer with the model of the checkpoint `config.resume` and the test data; its epoch."""
    from trainer import Trainer

    device, model, criterion, metrics, epoch = build_trained(config)
    trainer = Trainer(model, criterion, metrics, None, config, device, build_test_loader(config))
    trainer.writer.enabled = False  # for a valid_step that shows pictures
    for callback in trainer.callbacks:
        callback.on_test_start(trainer)
    return trainer, epoch


def main(argv: list[str] | None = None) -> None:
    """Read the command line, evaluate, print the table."""
    with exit_on_user_error():
        config = ConfigParser.from_args(CommandLine(__doc__), argv=argv, to_train=False)
        with distributed.process_group():
            trainer, epoch = load(config)
            log = trainer.evaluate(trainer.data_loader)
    if distributed.is_main():
        loader = trainer.data_loader
        is_ours = hasattr(loader, "n_samples_mean")  # then it knows how many it has given
        n_samples = loader.state_dict()["samples"] if is_ours else len(loader.dataset)
        print(f"{config.resume}: epoch {epoch}, {n_samples:,} test samples")
        for name, value in log.items():
            print(f"{name:<19} {value:.4g}")


if __name__ == "__main__":
    main()
