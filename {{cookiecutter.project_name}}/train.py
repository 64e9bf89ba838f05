"""Train a model.

python train.py                                         a new run in saved/<name>/<run_id>/
python train.py optimizer.args.lr=0.01                  the same, with a key of the config changed
python train.py -r saved/<name>/<run_id>/last.pth       go on with a run
python train.py -r auto                                 go on with the newest, or start the first
"""

from functools import partial
from importlib import import_module

from parse_config import ConfigParser, Option, find_file
from utils import distributed
from utils.errors import CommandLine, UserError, exit_on_user_error
from utils.optional import need_tool

# Importing torch takes a second. It is imported inside the functions that need it, so that --help
# and a config that cannot be read do not wait for it.

OPTIONS = [
    Option(["--lr", "--learning-rate"], float, "optimizer.args.lr"),
    Option(["--bs", "--batch-size"], int, "data_loader.args.batch_size"),
]


def part_modules():
    """Where the names in each part of the config are looked up, first place first."""
    import torch

    from data_loader import data_loaders
    from model import loss, metric, model

    return {
        "arch": [model],
        "data_loader": [data_loaders],
        "loss": [loss, torch.nn, torch.nn.functional],
        "metrics": [metric],
        "optimizer": [torch.optim],
        "lr_scheduler": [torch.optim.lr_scheduler],
    }


def build_model(config):
    """What training and testing share: the device, the model on it, the loss and the metrics."""
    from utils.device import get_device, to_device
    from utils.seed import seed_everything, seed_rank

    modules = part_modules()
    config.check_parts(modules)
    device = get_device(config["device"])
    seed_everything(config["seed"], config["deterministic"])
    model = config.init_obj("arch", modules["arch"]).to(device)
    seed_rank(config["seed"], distributed.rank())
    criterion = config.init_each(
        "loss", lambda key, _: to_device(config.init_callable(key, modules["loss"]), device)
    )
    metrics = [
        to_device(config.init_callable(("metrics", index), modules["metrics"]), device)
        for index in range(len(config["metrics"]))
    ]
    return device, model, criterion, metrics


def build_trainer(config):
    """All that the config describes, put together: `.train()` on the result trains."""
    from trainer import Trainer

    device, model, criterion, metrics = build_model(config)
    if (init := config.settings.init_from) and config.resume is None:
        tool = need_tool("init_from", "init_from")
        line = tool.init_weights(model, find_file(init.checkpoint), init.strict)
        config.get_logger("train").info(line)
    if config.settings.parallel.recompute:
        need_tool("blocks", "parallel.recompute").recompute(
            model, config.settings.parallel.recompute
        )
    distributed.shard(model, device, config.settings)
    data_loader = config.init_obj("data_loader", part_modules()["data_loader"])
    optimizer = config.init_each("optimizer", partial(build_optimizer, config, model))
    lr_scheduler = config.init_each("lr_scheduler", partial(build_scheduler, config, optimizer))
    trainer = Trainer(
        model,
        criterion,
        metrics,
        optimizer,
        config=config,
        device=device,
        data_loader=data_loader,
        valid_data_loader=data_loader.split_validation(),
        lr_scheduler=lr_scheduler,
    )
    trainer.watchers = import_module("tools").watchers() + trainer.watchers
    return trainer


def build_test_loader(config):
    """The held-out data, from the loader of the config: it must have these three arguments."""
    changes = {"shuffle": False, "validation_split": 0, "training": False}
    try:
        return config.init_obj("data_loader", part_modules()["data_loader"], **changes)
    except TypeError as error:
        needed = ", ".join(changes)
        raise UserError(f"data_loader: test.py calls it with {needed}: {error}") from error


def build_optimizer(config, model, key, name):
    """The optimizer under `key`, of all that is trained in the model, or in its part `name`."""
    try:
        part = model.get_submodule(name)
    except AttributeError:
        parts = ", ".join(child for child, _ in model.named_children())
        raise UserError(f"optimizer.{name}: the model has no such part, but {parts}") from None
    parameters = [one for one in part.parameters() if one.requires_grad]
    if patterns := config.part(key).groups:
        parameters = need_tool("groups", "optimizer.groups").grouped(part, patterns)
    return config.init_obj(key, part_modules()["optimizer"], parameters)


def build_scheduler(config, optimizer, key, name=""):
    """The schedule under `key`, and before it those that it is made of, as in SequentialLR."""
    optimizer = optimizer[name] if name else optimizer
    part = config.part(key)
    parts = part.args.get("schedulers", []) if part is not None else []
    keys = [(*key, "args", "schedulers", index) for index in range(len(parts))]
    inner = [build_scheduler(config, optimizer, one) for one in keys]
    given = {"schedulers": inner} if inner else {}
    return config.init_obj(key, part_modules()["lr_scheduler"], optimizer, **given)


def main(argv=None):
    parser = CommandLine(__doc__)
    tools = import_module("tools")
    tools.add_flags(parser)
    with exit_on_user_error():
        config = ConfigParser.from_args(parser, OPTIONS, argv, part_modules)
        tool = tools.chosen(config.args)
        with distributed.process_group():
            config.resume = distributed.agree(lambda: config.resume)
            if tool is not None:
                return tool(config)
            build_trainer(config).train()
        tools.after_training(config)


if __name__ == "__main__":
    main()
