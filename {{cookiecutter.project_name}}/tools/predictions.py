"""What a model makes of validation data, in pictures, for the report of a run."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from parse_config import ConfigParser
from tools.drawing import contact_sheet, new_figure, png_of
from tools.history import Run
from train import build_model, part_modules
from utils import checkpoint
from utils.device import to_device
from utils.errors import UserError

MANY = 20  # classes: more have no numbers in the confusion matrix
WORST = 16  # samples are shown


def look(path: Path, samples: int) -> tuple[str, dict[str, bytes]]:
    """A sentence and pictures, as PNG by name, about a checkpoint in the directory of its run."""
    epoch, model, loader, device = load(path)
    outputs, targets, worst = predict(model, loader, device, samples)
    about = f"{path.name} of epoch {epoch} on {len(targets):,} samples of the validation data"
    if is_classification(outputs, targets):
        given = outputs.argmax(dim=1)
        right = (given == targets).float().mean().item()
        about += f": {right:.1%} right."
        pictures = {"confusion": draw_confusion(given, targets, outputs.shape[1])}
        if worst.images is not None:
            pictures["worst"] = draw_worst(worst, worst.images)
            about += f" The {len(worst.images)} worst come with how likely their class seems to it."
        return about, pictures
    if is_regression(outputs, targets):
        error = (outputs.flatten() - targets.flatten()).abs().mean().item()
        return f"{about}: off by {error:.4g} on average.", {
            "predicted": draw_predicted(outputs.flatten(), targets.flatten())
        }
    return f"{about} gives neither classes nor numbers to draw.", {}


def load(path: Path) -> tuple[int, nn.Module, Any, torch.device]:
    """The epoch of a checkpoint, its model, the validation data, the device.

    Raises UserError where there are no such data.
    """
    config = ConfigParser(Run(path.parent).config, resume=path)
    device, model, _, _ = build_model(config)
    state = load_state(path)
    checkpoint.set_weights(model, checkpoint.weights_to_use(state), path)
    data_loader = config.init_obj("data_loader", part_modules()["data_loader"])
    loader = data_loader.split_validation()
    if loader is None:
        raise UserError("there is no validation data")
    return state["epoch"], model.eval(), loader, device


def load_state(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, which may be a folder of FSDP."""
    if not path.is_dir():
        return checkpoint.load(path)
    from tools.fsdp import load_whole

    return load_whole(path)


class Worst:
    """The images whose class the model finds least likely."""

    def __init__(self) -> None:
        self.images: torch.Tensor | None = None
        self.losses, self.given, self.targets = (torch.empty(0) for _ in range(3))

    def see(self, images: torch.Tensor, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Keep those of a batch that are among the worst so far."""
        if not (images.ndim == 4 and images.shape[1] in (1, 3)):
            return
        losses = cross_entropy(outputs, targets, reduction="none")
        new = (losses, outputs.argmax(dim=1), targets, images)
        old = (
            self.losses,
            self.given,
            self.targets,
            images[:0] if self.images is None else self.images,
        )
        both = [torch.cat(pair) for pair in zip(old, new, strict=True)]
        first = both[0].topk(min(WORST, len(both[0]))).indices
        self.losses, self.given, self.targets, self.images = (values[first] for values in both)


@torch.no_grad()
def predict(
    model: nn.Module, loader: Any, device: torch.device, samples: int
) -> tuple[torch.Tensor, torch.Tensor, Worst]:
    """Outputs and targets of the first samples, and the worst of the images if they are some."""
    outputs, targets, worst = [], [], Worst()
    for data, target in loader:
        output = model(to_device(data, device)).float().cpu()
        outputs.append(output)
        targets.append(target)
        if is_classification(output, target):
            worst.see(data, output, target)
        samples -= len(target)
        if samples <= 0:
            break
    return torch.cat(outputs), torch.cat(targets), worst


def is_classification(outputs: torch.Tensor, targets: torch.Tensor) -> bool:
    return outputs.ndim == 2 and targets.ndim == 1 and targets.dtype == torch.long


def is_regression(outputs: torch.Tensor, targets: torch.Tensor) -> bool:
    return targets.is_floating_point() and outputs.numel() == targets.numel()


def draw_confusion(given: torch.Tensor, targets: torch.Tensor, classes: int) -> bytes:
    counts = torch.zeros(classes, classes, dtype=torch.long)
    counts.index_put_((targets, given), torch.tensor(1), accumulate=True)
    size = 5.5 if classes <= MANY else 8
    figure, [axes] = new_figure(1, size, size)
    axes.imshow(counts.sqrt().numpy(), cmap="Blues")  # the root, so that few mistakes are seen too
    axes.set(title="Confusion matrix", xlabel="predicted", ylabel="true")
    if classes <= MANY:
        axes.set(xticks=range(classes), yticks=range(classes))
        for row, column in counts.nonzero().tolist():
            count = counts[row, column].item()
            color = "white" if count > counts.max() / 3 else "black"
            axes.text(column, row, count, ha="center", va="center", color=color, size=8)
    return png_of(figure)


def draw_worst(worst: Worst, images: torch.Tensor) -> bytes:
    chances = (-worst.losses).exp()
    captions = [
        f"{given}, is {target} ({chance:.1%})"
        for given, target, chance in zip(
            worst.given.int().tolist(), worst.targets.int().tolist(), chances.tolist(), strict=True
        )
    ]
    return png_of(contact_sheet(images, captions, room=110))


def draw_predicted(outputs: torch.Tensor, targets: torch.Tensor) -> bytes:
    figure, [axes] = new_figure(1, 5.5, 5.5)
    axes.plot(targets.numpy(), outputs.numpy(), ".", alpha=0.4)
    both = torch.cat([targets, outputs])
    ends = [both.min().item(), both.max().item()]
    axes.plot(ends, ends, color="gray", linewidth=1)
    axes.set(title="Predicted against true", xlabel="true", ylabel="predicted")
    return png_of(figure)
