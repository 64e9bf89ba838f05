"""Show the model layer by layer, and what one training step on a real batch takes."""

from tempfile import TemporaryDirectory

import torch

from parse_config import ConfigParser
from train import build_trainer
from utils.device import batch_size, tensors_in


def run(config, _):
    with TemporaryDirectory() as folder:
        changes = {"save_dir": folder, "tensorboard": False, "trackers": [], "verbosity": 0}
        changes |= {"compile": False, "non_finite": "ignore"}
        settings = config.config | {"trainer": config["trainer"] | changes}
        trainer = build_trainer(ConfigParser(settings, source=config.source))
        batch = next(iter(trainer.data_loader))
        shapes, kept = take_step(trainer, batch)
    print_table(layers(trainer.model, shapes))
    print_parameters(trainer.model)
    print(f"\nMemory of a training step with {batch_size(batch)} samples, in MB")
    for name, n_bytes in memory(trainer, kept).items():
        print(f"  {name:<22}{n_bytes / 1e6:>10,.2f}")


def take_step(trainer, batch):
    """Train on one batch; the output shapes of the layers, and the bytes kept for backward."""
    shapes, kept = {}, {}
    model = trainer.model
    own = {one.untyped_storage().data_ptr() for one in (*model.parameters(), *model.buffers())}

    def note_shape(name):
        def hook(module, inputs, output):
            shapes[name] = ", ".join(str(tuple(one.shape)) for one in tensors_in(output))

        return hook

    def note_kept(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = [m.register_forward_hook(note_shape(n)) for n, m in model.named_modules()]
    trainer.data_loader, trainer.len_epoch, trainer.do_validation = [batch], 1, False
    with torch.autograd.graph.saved_tensors_hooks(note_kept, lambda tensor: tensor):
        trainer._train_epoch(1)
    for hook in hooks:
        hook.remove()
    return shapes, sum(kept.values())


def layers(model, shapes):
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


def print_table(rows):
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for *texts, number in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=False))
        print(f"{line}  {number:>{widths[-1]}}".rstrip())


def print_parameters(model):
    parameters = list(model.parameters())
    trained = sum(one.numel() for one in parameters if one.requires_grad)
    in_all = sum(one.numel() for one in parameters)
    print(f"\n{in_all:,} parameters, of which {trained:,} are trained")


def memory(trainer, kept):
    """Bytes by what they are for."""
    model = trainer.model
    several = trainer.optimizer
    optimizers = several.values() if isinstance(several, dict) else [several]
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    averaged = [] if trainer.ema is None else trainer.ema.parameters()
    return {
        "weights and buffers": size([*model.parameters(), *model.buffers(), *averaged]),
        "gradients": size(gradients),
        "state of the optimizer": size(tensors_in([one.state for one in optimizers])),
        "kept for backward": kept,
    }


def size(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
