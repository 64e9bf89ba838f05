"""Train a model.

python train.py                                         a new run in saved/<name>/<run_id>/
python train.py optimizer.args.lr=0.01                  the same, with a key of the config changed
python train.py -r saved/<name>/<run_id>/last.pth       go on with a run
python train.py -r auto                                 go on with the newest of this name, or start
"""

from typing import Any

from parse_config import ConfigParser, Option
from utils import distributed
from utils.command_line import CommandLine, exit_on_user_error
from utils.extras import add_flags, chosen_flag, modules_of

# Functions import torch, which takes a second: --help and a bad config do not wait for it

OPTIONS = [
    Option(["--lr", "--learning-rate"], float, "optimizer.args.lr"),
    Option(["--bs", "--batch-size"], int, "data_loader.args.batch_size"),
]


def part_modules() -> dict[str, Any]:
    """Where the names in each part of the config are looked up, first place first."""
    import torch

    from data_loader import data_loaders
    from model import loss, metric, model

    return {
        "arch": [model],
        "data_loader": [data_loaders],
        "loss": [loss, torch.nn, torch.nn.functional],
        "metrics": [metric, *modules_of("metrics")],
        "optimizer": [torch.optim],
        "lr_scheduler": [torch.optim.lr_scheduler],
    }


def build_model(config: ConfigParser) -> tuple[Any, Any, Any, list[Any]]:
    """What training and testing share: the device, the model on it, the loss and the metrics."""
    from base.sampler import derive_seed
    from utils.device import get_device
    from utils.seed import seed_everything

    modules = part_modules()
    config.check_parts(modules)
    device = get_device(config["device"])
    seed_everything(config["seed"], config["deterministic"])
    model = config.init_obj("arch", modules["arch"]).to(device)
    if (rank := distributed.rank()) > 0:  # each process draws its own numbers, as for dropout
        seed_everything(derive_seed(config["seed"], rank), config["deterministic"])

    def build(path: Any) -> Any:
        return config.init_callable(path, modules[path[0]], device)

    return device, model, config.init_each("loss", build), config.init_each("metrics", build)


def build_trainer(config: ConfigParser) -> Any:
    """All that the config describes, put together: `.train()` on the result trains."""
    from trainer import Trainer
    from utils.optim import build_optimizers, build_schedulers
    from utils.seed import seed_everything

    modules = part_modules()
    config.get_logger("train", config["trainer"]["verbosity"])  # the data have something to say
    config.check_parts(modules, before_data=True)
    seed_everything(config["seed"], config["deterministic"])
    data_loader = config.init_obj("data_loader", modules["data_loader"])
    for callback in config.callbacks:
        callback.on_data_built(data_loader, config)
    device, model, criterion, metrics = build_model(config)
    for callback in config.callbacks:
        callback.on_model_built(model, config)
    optimizer = build_optimizers(config, modules["optimizer"], model)
    lr_scheduler = build_schedulers(config, modules["lr_scheduler"], optimizer)
    split = getattr(data_loader, "split_validation", lambda: None)  # a DataLoader of torch has none
    return Trainer(
        model, criterion, metrics, optimizer, config, device, data_loader, split(), lr_scheduler
    )


def main(argv: list[str] | None = None) -> None:
    """Read the command line, then train, or do what a flag of an extra says."""
    parser = CommandLine(__doc__)
    add_flags(parser)
    with exit_on_user_error():
        config = ConfigParser.from_args(parser, OPTIONS, argv)
        with distributed.process_group():
            config = distributed.broadcast(config)
            if (run := chosen_flag(config.args)) is not None:
                return run(config)
            build_trainer(config).train()


if __name__ == "__main__":
    main()
