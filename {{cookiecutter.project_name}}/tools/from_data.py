"""Values of the config that the data tell: a run's config has them as numbers.

`"${data.num_classes}"` among the arguments of a part is what the data loader has under that name,
or else its data set, or what the labels say: `num_classes`, `class_weights`, `pos_weight`. As a
length of a schedule, `"auto"` is how often it moves on in the run, or in its part of a
SequentialLR; `"5%"` is that share of the run. from_data.json in the run directory keeps what the
config had.
"""

import re
from collections.abc import Iterator
from operator import length_hint
from typing import Any

import torch
from torch.utils.data import TensorDataset

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from tools.changes import begins_now, below, changes_since, n_moves, part_of
from tools.folds import LABELS
from utils import distributed
from utils.check import Keys, Mistake, nearest
from utils.errors import UserError, as_warning
from utils.files import to_plain, write_json
from utils.optim import by_name
from utils.resume import read
from utils.seed import preserved_random_state

OPEN = re.compile(r"\$\{data\.\w+\}|auto|(\d+\.?\d*)%")  # the last two in a schedule
LENGTH = re.compile(r"T_max|T_0|milestones|step_size\w*|(\w+_)?(steps|iters)|\w+_epochs")
LENGTHS = "T_max, T_0, total_steps, total_iters, step_size, step_size_up, milestones, …"
NAME = "from_data.json"
COMPUTED = ("num_classes", "class_weights", "pos_weight")  # where nobody offers them


class FromData(Callback):
    """Puts the values into the config, once the data loader is there."""

    replaced: Any = ()  # the way to each value that is put in, and what stood there

    def on_check(self, config: ConfigParser, mistakes: list, before_data: bool = False) -> None:
        left_open = dict(open_values(config.config))
        mistakes[:] = [mistake for mistake in mistakes if mistake.path not in left_open]
        for path, value in left_open.items():
            if value[0] != "$" and not is_length(path):
                mistakes.append(Mistake(path, f" = {value!r}: is for lengths alone: {LENGTHS}"))
            elif not before_data:
                reason = "only a training has it, from its data"
                mistakes.append(Mistake(path, f" = {value!r}: {reason}"))

    def on_data_built(self, data_loader: Any, config: ConfigParser) -> None:
        left_open = dict(open_values(config.config))
        if not left_open:
            return
        new = to_plain(config.config)
        for path, value in left_open.items():
            if value.startswith("${"):
                what = f"{'.'.join(map(str, path))} = {value!r}"
                put(new, path, offered(data_loader, value[len("${data.") :].rstrip("}"), what))
        for name, part in by_name(new["lr_scheduler"] and config.settings.lr_scheduler).items():
            where: tuple = ("lr_scheduler", *filter(None, [name]))
            given: Any = get(new, where)
            if any(open_values(given, where)):
                n_steps = steps_of_run(data_loader, config, part.interval, ".".join(where))
                n_steps = max(1, n_steps - steps_before(config, part.interval, where))
                set_lengths(given, n_steps, n_steps)
        config.read(distributed.broadcast(new))
        self.replaced = [*left_open.items()]
        for path, value in left_open.items():
            line = "%s: %s is %s"
            found = get(config.config, path)
            config.get_logger("train").info(line, ".".join(map(str, path)), value, found)

    def on_train_start(self, trainer: BaseTrainer) -> None:
        if self.replaced and distributed.is_main():
            with as_warning(trainer.logger, f"{NAME} is not written"):
                write_json(self.replaced, trainer.checkpoint_dir / NAME, indent=None)


def open_values(value: Any, path: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """What stands in a config for a value that the data tell, and where."""
    if isinstance(value, (dict, list)) and path != ("data_loader",):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from open_values(one, (*path, key))
    elif isinstance(value, str) and OPEN.fullmatch(value):
        if value[0] == "$" or (path[0] == "lr_scheduler" and "args" in path):
            yield path, value


def is_length(path: Keys) -> bool:
    """Whether an argument of a schedule, or an entry of its list, is a number of steps."""
    return LENGTH.fullmatch([key for key in path if isinstance(key, str)][-1]) is not None


def get(tree: Any, path: tuple) -> Any:
    """What is in a tree of dicts and lists."""
    for key in path:
        tree = tree[key]
    return tree


def put(tree: Any, path: tuple, value: Any) -> None:
    get(tree, path[:-1])[path[-1]] = value


def offered(data_loader: Any, name: str, what: str) -> Any:
    """What the data say by that name, in the types of a config. Raises UserError for nothing."""
    dataset = getattr(data_loader, "dataset", None)
    value = getattr(data_loader, name, getattr(dataset, name, None))
    if value is None and name in COMPUTED:
        classes: Any = getattr(data_loader, "classes", getattr(dataset, "classes", None))
        is_known = name == "num_classes" and isinstance(classes, (list, tuple))
        value = len(classes) if is_known else computed(data_loader, name, what)
    if (plain := in_config(value)) is not None:
        return plain
    kind = type(data_loader).__name__
    names = [x for x in (*vars(data_loader), *dir(type(data_loader))) if x[0] != "_"]
    names = [x for x in names if in_config(getattr(data_loader, x, None)) is not None]
    raise UserError(f"{what}: {kind} has no such value; {nearest(name, [*names, *COMPUTED])}")


def in_config(value: Any) -> Any:
    """A value in the types of a config; None where it has none there."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (list, tuple)):
        inside = [in_config(one) for one in value]
        return None if None in inside else inside
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        found = {key: in_config(one) for key, one in value.items()}
        return None if None in found.values() else found
    return value if isinstance(value, (bool, int, float, str)) else None


def computed(data_loader: Any, name: str, what: str) -> Any:
    """The value by the labels: of all samples, or for weights of those that are trained on."""
    targets = targets_of(getattr(data_loader, "dataset", None))
    if targets is None:
        kind = type(data_loader).__name__
        raise UserError(f"{what}: {kind} does not tell it: give it an attribute {name!r}")
    indices = getattr(getattr(data_loader, "sampler", None), "indices", slice(None))
    trained = targets[torch.as_tensor(indices) if not isinstance(indices, slice) else indices]
    if name == "pos_weight":  # for each label, how many negatives come on a positive
        positive = (trained.reshape(len(trained), -1) > 0.5).sum(dim=0).double()
        return ((len(trained) - positive) / positive.clamp(min=1)).tolist()
    if targets.is_floating_point() or targets.ndim != 1 or targets.min() < 0:
        raise UserError(f"{what}: the targets are no class numbers, but {describe(targets)}")
    n = int(targets.max()) + 1
    counts = torch.bincount(trained, minlength=n).double()
    return n if name == "num_classes" else (len(trained) / (n * counts.clamp(min=1))).tolist()


def describe(targets: torch.Tensor) -> str:
    return f"{str(targets.dtype).removeprefix('torch.')} of {tuple(targets.shape)}"


def targets_of(dataset: Any) -> torch.Tensor | None:
    """The target of each sample; None where it does not tell. Samples may have to be read."""
    known = [getattr(dataset, name, None) for name in LABELS]
    known += [dataset.tensors[-1]] if isinstance(dataset, TensorDataset) else []
    try:
        for values in known:
            if values is not None and len(values) == len(dataset):
                return torch.as_tensor(values)
        with preserved_random_state():
            return torch.stack([target_in(dataset[index]) for index in range(len(dataset))])
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError):
        return None


def target_in(sample: Any) -> torch.Tensor:
    """The target in a pair, or in a dict under a usual name."""
    if isinstance(sample, dict):
        return torch.as_tensor(next((sample[name] for name in LABELS if name in sample), None))
    return torch.as_tensor(sample[-1])


def steps_of_run(data_loader: Any, config: ConfigParser, interval: str, where: str) -> int:
    """How often a schedule moves on from the start to the end of a run."""
    settings = config.settings.trainer
    if interval == "epoch":
        return settings.epochs
    n_batches = settings.len_epoch or length_hint(data_loader)
    if not n_batches:
        what = "the data loader has no length, so the steps of the run are not known"
        raise UserError(f"{where}: {what}: set trainer.len_epoch")
    return settings.epochs * -(-n_batches // settings.accumulate_steps)


def steps_before(config: ConfigParser, interval: str, where: Keys) -> int:
    """How often a run moves on before a schedule begins: that of a resumed run may be another."""
    if config.resume is None or not (state := read(config.resume)).get("random"):
        return 0
    done = state["step"] if interval == "step" else state["epoch"]
    reached = part_of(state["lr_scheduler"], "".join(where[1:]))
    if not reached or begins_now(below(changes_since(state["config"], config), *where)):
        return done
    return done - n_moves(reached)


def set_lengths(part: Any, n_steps: int, n_of_run: int) -> None:
    """Put numbers in the place of lengths, in a schedule and in those that it consists of."""
    args = part.get("args", {}) if isinstance(part, dict) else {}
    for key, value in args.items():
        if key != "schedulers":
            args[key] = with_length(value, n_steps, n_of_run)
    inner = args.get("schedulers", [])
    for one, n in zip(inner, parts_of(args.get("milestones"), n_steps, len(inner)), strict=True):
        set_lengths(one, n, n_of_run)


def with_length(value: Any, n_steps: int, n_of_run: int) -> Any:
    """A value, or each in a list, as a number where it stands for one."""
    if isinstance(value, list):
        return [with_length(one, n_steps, n_of_run) for one in value]
    if not (isinstance(value, str) and (match := OPEN.fullmatch(value))):
        return value
    return n_steps if match[1] is None else max(1, round(n_of_run * float(match[1]) / 100))


def parts_of(milestones: Any, n_steps: int, n_parts: int) -> Iterator[int]:
    """The steps of each schedule in a SequentialLR; of those in a ChainedScheduler, all."""
    is_sequence = isinstance(milestones, list) and len(milestones) == n_parts - 1
    ends = [*milestones, n_steps] if is_sequence else []
    for index in range(n_parts):
        begin = ends[index - 1] if ends and index else 0
        yield max(1, ends[index] - begin) if ends else n_steps
