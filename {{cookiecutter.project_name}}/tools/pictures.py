"""What TensorBoard and trackers are shown besides numbers.

After the first epoch of a start: the config, as text and for the tab HParams, and some inputs.
After each: those of them that the model takes for something else and, with `trainer.histograms`,
how weights and gradients are distributed.
"""

import json
from importlib.util import find_spec
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset

from base import BaseTrainer, Callback
from base.base_data_loader import to_device
from base.sampler import EpochSampler
from tools.drawing import caption, contact_sheet
from utils import distributed
from utils.check import flat
from utils.device import averaged_model
from utils.errors import in_one_line
from utils.inferred import interpret
from utils.seed import preserved_random_state

KEY = "trainer.histograms"

SAMPLES = 128  # of the validation data are looked at, or a batch if that has more
MEMORY = 50e6  # bytes that they may take, after the first batch
IMAGES = 16  # of them are shown at most


class Pictures(Callback):
    """Writes them after each epoch; where that fails, there are no more."""

    def __init__(self) -> None:
        self.batches: Any = None  # (images, classes) on the CPU; [] where the data are others
        self.has_failed = False

    def on_epoch_end(self, trainer: BaseTrainer, log: dict[str, Any]) -> None:
        writer = trainer.writer
        is_wanted = getattr(writer, "enabled", True) or trainer.config.settings.trainer.trackers
        if self.has_failed or not (is_wanted and distributed.is_main()):
            return
        try:
            self.show(trainer, log)
        except Exception as error:
            self.has_failed = True
            trainer.logger.warning("no more pictures: %s", in_one_line(error))

    def show(self, trainer: Any, log: dict[str, Any]) -> None:
        """Write what there is to see of an epoch."""
        writer = trainer.writer
        is_first = self.batches is None
        is_sharded = hasattr(trainer.model, "unshard")  # all processes have to look at it
        if is_first and is_sharded:
            self.batches = []
        elif is_first:
            with preserved_random_state():  # a loader may draw from it
                self.batches = image_batches(getattr(trainer, "valid_data_loader", None))
        writer.set_step(trainer.step, "valid")
        if is_first and writer.writer is not None:
            write_config(writer.writer, trainer, log)
        if is_first and self.batches:
            images = torch.cat([images for images, _ in self.batches])
            sheet = contact_sheet(images[:: ceil(len(images) / IMAGES)])
            writer.add_image("inputs", np.asarray(sheet), dataformats="HWC")
        if self.batches:
            self._write_mistakes(trainer)
        if trainer.config.settings.trainer.histograms and not is_sharded:
            write_histograms(writer, distributed.unwrap(trainer.model))

    def _write_mistakes(self, trainer: Any) -> None:
        try:
            with averaged_model(trainer), trainer.autocast:
                found = worst_mistakes(trainer, self.batches)
        except Exception:  # the model takes something else than images: only its trainer knows what
            self.batches = []
            return
        if found:
            images, captions = zip(*found, strict=True)
            sheet = contact_sheet(torch.stack(images), captions)
            trainer.writer.add_image("wrong predictions", np.asarray(sheet), dataformats="HWC")


def image_batches(loader: Any) -> list[Any]:
    """Full batches of samples from all over a loader's data, if they are images and classes."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return []
    sampler, size = loader.sampler, loader.batch_size or SAMPLES
    indices: Any = sampler.order() if isinstance(sampler, EpochSampler) else list(sampler)
    parts = min(ceil(SAMPLES / size), max(len(indices) // size, 1))
    number = min(parts * size, len(indices))
    places = [place * len(indices) // number for place in range(number)]
    spread = [indices[place : place + 1][0] for place in places]
    spread = [int(one) if isinstance(one, torch.Tensor) else one for one in spread]
    order = [index for part in range(parts) for index in spread[part::parts]]
    batches, memory = [], 0
    for batch in DataLoader(Subset(loader.dataset, order), size, collate_fn=loader.collate_fn):
        if memory > MEMORY or find_spec("PIL") is None or not is_image_batch(batch):
            break
        batches.append(batch)
        memory += batch[0].nbytes
    return batches


def is_image_batch(batch: Any) -> bool:
    """Whether a batch is a pair: (N, 1 or 3, H, W) images and their (N,) classes."""
    if not (isinstance(batch, (list, tuple)) and len(batch) == 2):
        return False
    images, classes = batch
    if not (isinstance(images, torch.Tensor) and isinstance(classes, torch.Tensor)):
        return False
    is_image = images.ndim == 4 and images.shape[1] in (1, 3)
    return is_image and classes.ndim == 1 and classes.dtype == torch.long


@torch.no_grad()
def worst_mistakes(trainer: Any, batches: list[Any]) -> list[tuple[torch.Tensor, str]]:
    """Images that are taken for another class, with a caption, the least expected class first.

    None where the task is not to tell classes.
    """
    model = trainer.model
    was_training = model.training
    model.eval()
    found: list[tuple[float, int, torch.Tensor, str]] = []
    for images, classes in batches:
        outputs = model(to_device(images, trainer.device))
        task, values = interpret(trainer.config, trainer.criterion, outputs)
        if task != "multiclass":
            break
        chances = values.cpu()
        given = chances.argmax(dim=1)
        for index in (given != classes).nonzero().flatten().tolist():
            chance = chances[index, classes[index]].item()
            words = caption(given[index].item(), classes[index].item(), chance)
            found.append((chance, len(found), images[index], words))
    model.train(was_training)
    return [(image, words) for _, _, image, words in sorted(found)[:IMAGES]]


def write_config(writer: Any, trainer: BaseTrainer, log: dict[str, Any]) -> None:
    """Show a SummaryWriter the config, and which values its tab HParams is to have."""
    from torch.utils.tensorboard.summary import hparams

    config = trainer.config.config
    lines = json.dumps(config, indent=4, ensure_ascii=False).splitlines()
    writer.add_text("config", "\n".join(f"    {line}" for line in lines), trainer.step)
    names = {name.removeprefix("val_") for name in log if name.startswith("val_")}
    if names:
        metrics = {f"{name}/valid": 0 for name in names}
    else:
        metrics = {f"{name}/train_epoch": 0 for name in log if name != "epoch"}
    # TensorBoard takes the final values from the curves with these tags
    plain = {
        k: v if type(v) in (bool, int, float, str) else json.dumps(v)
        for k, v in flat(config).items()
    }
    for summary in hparams(plain, metrics):
        writer.file_writer.add_summary(summary)


def write_histograms(writer: Any, model: nn.Module) -> None:
    """Show how the weights and the gradients of each parameter are distributed."""
    for name, parameter in model.named_parameters():
        for what, values in (("weights", parameter.detach()), ("gradients", parameter.grad)):
            if values is None:
                continue
            values = values.coalesce().values() if values.is_sparse else values
            if (finite := values[values.isfinite()]).numel():
                writer.add_histogram(f"{what}/{name}", finite.float().cpu())
