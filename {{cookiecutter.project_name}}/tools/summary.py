"""Show the model layer by layer, and what one training step on a real batch takes."""

from collections.abc import Iterable, Iterator
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from parse_config import ConfigParser
from tools import for_one_process
from tools.first_batches import FirstBatches
from train import build_trainer
from utils.optim import by_name

FLAG = {"action": "store_true", "help": "show layers, shapes, parameters and memory of the model"}
Row = tuple[str, str, str, str]


def run(config: ConfigParser, _: Any) -> None:
    """Print the tables."""
    for_one_process("--summary")
    with TemporaryDirectory() as folder:
        changes = {"save_dir": folder, "tensorboard": False, "trackers": [], "verbosity": 0}
        changes |= {"compile": False, "non_finite": "ignore"}
        settings = config.config | {"trainer": config["trainer"] | changes}
        trainer = build_trainer(ConfigParser(settings, source=config.source))
        shapes, kept, n_samples = take_step(trainer)
    print_table(layers(trainer.model, shapes))
    print_parameters(trainer.model)
    print(f"\nMemory of a training step with {n_samples} samples, in MB")
    for name, n_bytes in memory(trainer, kept).items():
        print(f"  {name:<22}{n_bytes / 1e6:>10,.2f}")


def take_step(trainer: Any) -> tuple[dict[str, str], int, int]:
    """Train on one batch: the shapes of the outputs by layer, the bytes kept for backward, and the
    number of samples."""
    shapes: dict[str, str] = {}
    kept: dict[int, int] = {}
    model = trainer.model
    own = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}

    def note_shape(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            shapes[name] = ", ".join(str(tuple(one.shape)) for one in tensors_in(output))

        return hook

    def note_kept(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = [m.register_forward_hook(note_shape(n)) for n, m in model.named_modules()]
    batches = trainer.data_loader = FirstBatches(trainer.data_loader, 1)
    trainer.len_epoch, trainer.epoch_is_pass, trainer.do_validation = 1, False, False
    with torch.autograd.graph.saved_tensors_hooks(note_kept, lambda tensor: tensor):
        trainer._train_epoch(1)
    for hook in hooks:
        hook.remove()
    return shapes, sum(kept.values()), trainer._n_samples(batches.batches[0][0], batches)


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(one)


def layers(model: nn.Module, shapes: dict[str, str]) -> Iterator[Row]:
    """Rows of the table: each part of the model, with the parameters that are its own alone."""
    yield "layer", "class", "output", "parameters"
    for name, module in model.named_modules():
        indent = "  " * (name.count(".") + bool(name))
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        label = indent + (name.rpartition(".")[2] or "model")
        yield (
            label,
            type(module).__name__,
            shapes.get(name, "not called"),
            f"{own:,}" if own else "",
        )


def print_table(rows: Iterable[Row]) -> None:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *texts, number in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=False))
        print(f"{line}  {number:>{widths[-1]}}".rstrip())


def print_parameters(model: nn.Module) -> None:
    parameters = list(model.parameters())
    trained = sum(one.numel() for one in parameters if one.requires_grad)
    in_all = sum(one.numel() for one in parameters)
    print(f"\n{in_all:,} parameters, of which {trained:,} are trained")


def memory(trainer: Any, kept: int) -> dict[str, int]:
    """Bytes by what they are for."""
    model = trainer.model
    states = [one.state for one in by_name(trainer.optimizer).values()]
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    has_average = trainer.config.settings.trainer.ema is not None
    averaged = [*model.parameters()] * has_average  # which tools/ema.py copies
    return {
        "weights and buffers": bytes_in([*model.parameters(), *model.buffers(), *averaged]),
        "gradients": bytes_in(gradients),
        "state of the optimizer": bytes_in(tensors_in(states)),
        "kept for backward": kept,
    }


def bytes_in(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
