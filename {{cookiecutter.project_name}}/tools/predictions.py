"""What a model makes of validation data, in pictures, for the report of a run.

`valid_step` of the trainer is called on each batch, whatever that is; drawn is what it gives to
`self.measure(output, target)`, by the task: see base/base_model.py.
"""

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from base.base_data_loader import to_device
from parse_config import ConfigParser
from runs import Run
from tools.drawing import caption, contact_sheet, new_figure, png_of
from train import build_model, part_modules
from trainer import Trainer
from utils import resume
from utils.errors import UserError
from utils.inferred import interpret

MANY = 20  # classes: more have no numbers in the confusion matrix
WORST = 16  # samples are shown
LONGEST = 16  # letters of a class's name that are shown
LABELS = 10  # that have a curve each
POINTS = 5000  # that are drawn
Pictures = dict[str, bytes]  # PNG by name


def look(path: Path, samples: int) -> tuple[str, Pictures]:
    """A sentence and pictures about a checkpoint in the directory of its run.

    Raises UserError where there is nothing to look at.
    """
    epoch, trainer, loader, classes = load(path)
    seen, n = None, 0
    for task, values, targets, images in predict(trainer, loader, samples):
        if task not in KINDS:
            hint = 'set "task" in the config, if it is multiclass, binary, multilabel or regression'
            raise UserError(f"it is not known what the outputs mean: {hint}")
        seen = seen or KINDS[task]()
        seen.see(values, targets, images)
        n += len(targets)
    if seen is None:
        raise UserError("the validation data give no batch")
    said, pictures = seen.draw(classes)
    return f"{path.name} of epoch {epoch} on {n:,} samples of the validation data: {said}", pictures


def load(path: Path) -> tuple[int, Any, Any, Any]:
    """The epoch of a checkpoint, a trainer with its model, validation data, names of classes.

    Raises UserError where there are no such data.
    """
    config = ConfigParser(Run(path.parent).config, resume=path)
    device, model, criterion, metrics = build_model(config)
    state = load_state(path)
    resume.set_weights(model, resume.weights_to_use(state), path)
    config.get_logger("train", verbosity=0)  # what the data have to say was said
    data_loader = config.init_obj("data_loader", part_modules()["data_loader"])
    loader = data_loader.split_validation() if hasattr(data_loader, "split_validation") else None
    if loader is None:
        raise UserError("there is no validation data")
    config.save_dir = path.parent  # no run begins here
    trainer = Trainer(model, criterion, metrics, None, config, device, loader)
    trainer.writer.enabled = False
    return state["epoch"], trainer, loader, getattr(data_loader, "classes", None)


def load_state(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, which may be a folder of FSDP."""
    if not path.is_dir():
        return resume.load(path)
    from tools.fsdp import load_whole

    return load_whole(path)


@torch.no_grad()
def predict(trainer: Any, loader: Any, samples: int) -> Iterator[tuple[Any, ...]]:
    """(task, values, targets, images or None) of each batch until there are so many samples.

    Raises UserError where `valid_step` gives `measure` no tensors.
    """
    given: list[tuple[Any, Any]] = []
    measure = trainer.measure

    def note(output: Any, target: Any) -> Any:
        given.append((output, target))
        return measure(output, target)

    trainer.measure = note
    trainer.metrics = trainer.valid_metrics
    trainer.model.eval()
    for batch in loader:
        batch = to_device(batch, trainer.device)
        given.clear()
        with trainer.autocast:
            trainer.valid_step(batch)
        if not given or not all(isinstance(one, torch.Tensor) for one in given[0]):
            how = "let valid_step call self.measure(output, target) with tensors"
            raise UserError(f"{type(trainer).__name__} does not say what was predicted: {how}")
        output, target = given[0]
        task, values = interpret(trainer.config, trainer.criterion, output.float())
        yield task, values.cpu(), target.cpu(), images_in(batch, len(target))
        samples -= len(target)
        if samples <= 0:
            return


def images_in(batch: Any, n: int) -> torch.Tensor | None:
    """The first (n, 1 or 3, height, width) tensor in a batch; None where there is none."""
    for leaf in tree_leaves(batch):
        if isinstance(leaf, torch.Tensor) and leaf.ndim == 4 and leaf.shape[1] in (1, 3):
            return leaf.cpu() if len(leaf) == n else None
    return None


class Classes:
    """How often which class is predicted, and the images whose true class is least likely."""

    def __init__(self) -> None:
        self.counts: Any = 0
        self.images: torch.Tensor | None = None
        self.chances, self.given, self.targets = (torch.empty(0) for _ in range(3))

    def see(self, values: torch.Tensor, targets: torch.Tensor, images: torch.Tensor | None) -> None:
        """Take in the probabilities and targets of a batch."""
        n = values.shape[1]
        if targets.is_floating_point():  # a probability of each class
            targets = targets.argmax(dim=1)
        given = values.argmax(dim=1)
        is_class = (targets >= 0) & (targets < n)  # else the loss ignores it
        pairs = targets[is_class] * n + given[is_class]
        self.counts = self.counts + torch.bincount(pairs, minlength=n * n).reshape(n, n)
        if images is not None and targets.ndim == 1 and is_class.all():
            chances = values.gather(1, targets[:, None])[:, 0]
            self._keep_worst(chances, given, targets, images)

    def _keep_worst(self, *new: torch.Tensor) -> None:
        images = new[-1][:0] if self.images is None else self.images
        old = (self.chances, self.given, self.targets, images)
        both = [torch.cat(pair) for pair in zip(old, new, strict=True)]
        first = both[0].topk(min(WORST, len(both[0])), largest=False).indices
        self.chances, self.given, self.targets, self.images = (values[first] for values in both)

    def draw(self, classes: Any) -> tuple[str, Pictures]:
        """What is to be said, and the confusion matrix and the worst images as PNG."""
        names = [str(name) for name in classes or range(len(self.counts))]
        said = f"{self.counts.trace() / self.counts.sum():.1%} right."
        pictures = {"confusion": draw_confusion(self.counts, names)}
        if self.images is not None:
            said += f" The {len(self.images)} worst come with the probability of their true class."
            given, true = self.given.int().tolist(), self.targets.int().tolist()
            rows = zip(given, true, self.chances.tolist(), strict=True)
            captions = [caption(names[g], names[t], chance) for g, t, chance in rows]
            pictures["worst"] = png_of(contact_sheet(self.images, captions))
        return said, pictures


class Scores:
    """Probabilities of a label, or of several, and which of them hold."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []
        self.targets: list[torch.Tensor] = []

    def see(self, values: torch.Tensor, targets: torch.Tensor, images: torch.Tensor | None) -> None:
        """Take in the values and targets of a batch."""
        if values.numel() != targets.numel():
            shapes = f"{tuple(values.shape)} and targets of {tuple(targets.shape)}"
            raise UserError(f"outputs of {shapes} do not fit each other")
        targets = targets.reshape(values.shape).float()
        for value, kept in ((values, self.values), (targets, self.targets)):  # a row for each pixel
            rows = value.movedim(1, -1) if value.ndim > 1 else value[:, None]
            kept.append(rows.reshape(-1, rows.shape[-1]))

    def draw(self, classes: Any) -> tuple[str, Pictures]:
        """What is to be said, and the ROC curve of each label as PNG."""
        values, targets = torch.cat(self.values), torch.cat(self.targets)
        right = ((values > 0.5) == (targets > 0.5)).float().mean().item()
        names = classes if classes and len(classes) == values.shape[1] else range(values.shape[1])
        figure, [axes] = new_figure(1, 5.5, 5.5)
        areas = []
        for label, name in enumerate(names):
            false, true = roc(values[:, label], targets[:, label] > 0.5)
            area = torch.trapezoid(true, false).item()
            areas.append(area)
            if label < LABELS:
                axes.plot(false.numpy(), true.numpy(), label=f"{name}: {area:.3f}")
        axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
        axes.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
        axes.legend(title="area under the curve")
        found = sum(areas) / len(areas)
        said = f"{right:.1%} right at 0.5; the area under the ROC curve is {found:.3f}"
        return f"{said} on average." if len(areas) > 1 else f"{said}.", {"roc": png_of(figure)}


class Numbers(Scores):
    """Numbers that are predicted, and the true ones."""

    def draw(self, classes: Any) -> tuple[str, Pictures]:
        """What is to be said, and the predicted against the true numbers as PNG."""
        values, targets = torch.cat(self.values).flatten(), torch.cat(self.targets).flatten()
        error = (values - targets).abs().mean().item()
        return f"off by {error:.4g} on average.", {"predicted": draw_predicted(values, targets)}


KINDS: dict[str, Any] = {
    "multiclass": Classes,
    "binary": Scores,
    "multilabel": Scores,
    "regression": Numbers,
}


def roc(scores: torch.Tensor, holds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The rates of false and of true positives for each threshold, from (0, 0) to (1, 1)."""
    scores, order = scores.sort(descending=True)
    holds = holds[order].double()
    ends = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])  # equal scores go together
    true, false = holds.cumsum(0)[ends], (1 - holds).cumsum(0)[ends]
    start = torch.zeros(1, dtype=torch.float64)
    true, false = torch.cat([start, true]), torch.cat([start, false])
    return false / false[-1].clamp(min=1), true / true[-1].clamp(min=1)


def draw_confusion(counts: torch.Tensor, names: list[str]) -> bytes:
    few = len(names) <= MANY
    size = 5.5 if few else 8
    figure, [axes] = new_figure(1, size, size)
    axes.imshow(counts.sqrt().numpy(), cmap="Blues")  # the root, so that few mistakes are seen too
    axes.set(title="Confusion matrix", xlabel="predicted", ylabel="true")
    if few:
        names = [name[:LONGEST] for name in names]
        longest = max(map(len, names))
        axes.set_xticks(range(len(names)), names, rotation=90 if longest > 3 else 0)
        axes.set_yticks(range(len(names)), names)
        room = (0.5 + 0.09 * longest) / size  # matplotlib's own layouts take half a second
        figure.subplots_adjust(left=room, bottom=room)
        for row, column in counts.nonzero().tolist():
            count = counts[row, column].item()
            color = "white" if count > counts.max() / 3 else "black"
            axes.text(column, row, count, ha="center", va="center", color=color, size=8)
    return png_of(figure)


def draw_predicted(outputs: torch.Tensor, targets: torch.Tensor) -> bytes:
    figure, [axes] = new_figure(1, 5.5, 5.5)
    every = ceil(len(targets) / POINTS)
    axes.plot(targets[::every].numpy(), outputs[::every].numpy(), ".", alpha=0.4)
    both = torch.cat([targets, outputs])
    ends = [both.min().item(), both.max().item()]
    axes.plot(ends, ends, color="gray", linewidth=1)
    axes.set(title="Predicted against true", xlabel="true", ylabel="predicted")
    return png_of(figure)
