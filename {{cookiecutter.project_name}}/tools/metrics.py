"""Metrics of torchmetrics by short names, exact over the epoch and over all processes.

`"metrics": ["auroc", {"type": "f1", "args": {"average": "micro"}}]`: `args` are those of the class
in torchmetrics. The model's outputs say the number of classes; what outputs mean is the `task` of
the config, or what the loss makes certain. Values for each class are logged as `f1_0`, `f1_1`, …
"""

import csv
from inspect import isclass
from typing import Any, Literal

import numpy as np
import torch

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from settings import Part
from utils import distributed
from utils.check import look_up
from utils.errors import UserError, as_warning, in_one_line
from utils.files import atomic_write, to_plain
from utils.inferred import interpret

IGNORED = -100  # the class number that cross entropy leaves out, unless it is told another
MANY = 100  # values of a metric: more are no numbers for a log


_matrices: dict[str, torch.Tensor] = {}  # the last of each confusion_matrix, by its name


class _Tasks(Callback):
    """Writes into the config what outputs mean, and after an epoch the confusion matrices."""

    def on_data_built(self, data_loader: Any, config: ConfigParser) -> None:
        from train import part_modules  # here, as train.py looks for this file

        new, modules = to_plain(config.config), part_modules()
        for index, part in enumerate(config.settings.metrics):
            found: Any = look_up(part.type, modules["metrics"])
            if not (isclass(found) and issubclass(found, _OfTask)) or "task" in part.args:
                continue
            task, from_logits = _task_of(config, modules["loss"])
            if task not in KINDS:
                hint = f'"task" in the config says what outputs mean: {", ".join(KINDS)}'
                raise UserError(f"metrics.{index}: {part.type}: {hint}")
            args = {"task": task, "from_logits": from_logits} | part.args
            name = {} if part.name is None else {"name": part.name}
            new["metrics"][index] = {"type": part.type, "args": args, **name}
        if new["metrics"] != config["metrics"]:
            config.read(new)

    def on_epoch_end(self, trainer: BaseTrainer, log: dict[str, Any]) -> None:
        for name, matrix in _matrices.items() if distributed.is_main() else ():
            with (
                as_warning(trainer.logger, f"{name}.csv is not written"),
                atomic_write(trainer.checkpoint_dir / f"{name}.csv") as file,
            ):
                csv.writer(file, lineterminator="\n").writerows(matrix.flatten(0, -2).tolist())
        _matrices.clear()

    def on_test_start(self, trainer: BaseTrainer) -> None:
        tracker: Any = getattr(trainer, "valid_metrics", None)
        for metric in getattr(tracker, "collectors", ()):
            if isinstance(metric, confusion_matrix):
                metric.is_logged = True


def _task_of(config: ConfigParser, modules: Any) -> tuple[str, bool]:
    """The task, and whether outputs are logits; "multilabel" stands for "binary" too."""
    if not isinstance(config.settings.loss, Part):  # several
        return config["task"] or "none", True
    outputs = torch.zeros(1, 1 if config["task"] == "binary" else 2)
    task, values = interpret(config, config.init_callable("loss", modules), outputs)
    return task, task == "multiclass" or bool(values.any())


class _Collected:
    """A metric of torchmetrics that is made at the first batch, for as many classes as it has."""

    of = ""  # its name in torchmetrics

    def __init__(self, **options: Any) -> None:
        self.options, self.metric, self.kind = options, None, ("", 0)
        self.make("", 2)  # what torchmetrics refuses, it refuses before training

    def make(self, kind: str, n: int) -> Any:
        """The metric for outputs of a kind, with `n` of them for a sample."""
        return self.made(self.module().__dict__[self.of], {})

    def module(self) -> Any:
        try:
            import torchmetrics
        except ImportError:
            reason = "is of torchmetrics, which is not installed: pip install torchmetrics"
            raise UserError(f"metrics: {type(self).__name__} {reason}") from None
        return torchmetrics

    def made(self, cls: Any, args: dict[str, Any]) -> Any:
        try:
            return cls(**args | self.options, sync_on_compute=False)
        except (TypeError, ValueError) as error:
            raise UserError(f"metrics: {type(self).__name__}: {in_one_line(error)}") from None

    def prepare(self, output: Any, target: Any) -> tuple[str, int, Any, Any]:
        """The kind of outputs and their number, predictions and targets as torchmetrics takes."""
        return "", 0, output.reshape(target.shape), target

    def update(self, output: Any, target: Any) -> None:
        try:
            kind, n, output, target = self.prepare(output.float(), target)
        except RuntimeError:
            shapes = f"outputs of {tuple(output.shape)} and targets of {tuple(target.shape)}"
            raise UserError(f"metrics: {type(self).__name__}: {shapes} do not fit") from None
        metric = self.metric_for(kind, n, output.device)
        metric.update(output, target)
        metric.validate_args = False  # once is enough: it waits for a GPU

    def metric_for(self, kind: str, n: int, device: Any) -> Any:
        if self.metric is None:
            self.kind, self.metric = (kind, n), self.make(kind, n).to(device)
        return self.metric

    def compute(self) -> Any:
        """Its value; of several, a dict. Nothing where there was no batch."""
        if self.metric is None or not self.metric.update_called:
            return {}
        value = self.metric.compute().cpu()
        if value.numel() > MANY:
            reason = f"has {value.numel():,} values, too many for a log; the report draws them"
            raise UserError(f"metrics: {type(self).__name__} {reason}")
        several = {"_".join(map(str, i)): value[i] for i in np.ndindex(*value.shape)}
        return several if value.ndim else value

    def reset(self) -> None:
        if self.metric is not None:
            self.metric.reset()

    def state_dict(self) -> dict[str, Any]:
        if self.metric is None or not self.metric.update_called:
            return {}
        state = {name: getattr(self.metric, name) for name in self.metric._defaults}
        state = {k: torch.cat(v) if isinstance(v, list) else v for k, v in state.items()}
        return {"kind": list(self.kind), "state": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reset()
        self.merge(state)

    def merge(self, state: dict[str, Any]) -> None:
        """Take in what the same metric has collected in another process; all of it are sums."""
        for name, value in state.get("state", {}).items():
            kind, n = state["kind"]
            metric = self.metric_for(kind, n, value.device)
            own = getattr(metric, name)
            setattr(metric, name, [*own, value] if isinstance(own, list) else own + value)
            metric._update_count, metric._computed = 1, None


class _OfTask(_Collected):
    """One that there is for several kinds of outputs."""

    def __init__(
        self,
        task: Literal["multiclass", "binary", "multilabel"] | None = None,
        from_logits: bool = True,
        **options: Any,
    ) -> None:
        self.task, self.from_logits = task, from_logits
        super().__init__(**options)

    def make(self, kind: str, n: int) -> Any:
        kind = kind or self.task or "multiclass"
        args = {} if kind == "binary" else {KINDS[kind]: n}
        if kind == "multiclass":
            args["ignore_index"] = IGNORED
        return self.made(getattr(self.module().classification, kind.title() + self.of), args)

    def prepare(self, output: Any, target: Any) -> tuple[str, int, Any, Any]:
        n = output.shape[1] if output.ndim > 1 else 1
        if self.task == "multiclass":
            is_soft = target.is_floating_point() and target.shape == output.shape
            return self.task, n, output.softmax(dim=1), target.argmax(dim=1) if is_soft else target
        if self.task is None:
            raise UserError(f'metrics: {type(self).__name__}: give "task" among its args')
        output = output.sigmoid() if self.from_logits else output
        if self.task == "binary" or n == 1:
            return "binary", 1, output.flatten(), target.reshape(output.shape).flatten().long()
        return self.task, n, output, target.reshape(output.shape).long()


KINDS = {"multiclass": "num_classes", "binary": "", "multilabel": "num_labels"}


class auroc(_OfTask):
    """The area under the ROC curve; the mean over classes."""

    of = "AUROC"


class average_precision(_OfTask):
    """The area under the precision-recall curve; the mean over classes."""

    of = "AveragePrecision"


class f1(_OfTask):
    """The mean over classes, as those below; "average": "none" gives that of each class."""

    of = "F1Score"


class precision(_OfTask):
    of = "Precision"


class recall(_OfTask):
    of = "Recall"


class iou(_OfTask):
    """Intersection over union, as for segmentation; also called the Jaccard index."""

    of = "JaccardIndex"


class confusion_matrix(_OfTask):
    """In confusion_matrix.csv of the run, that of the last epoch: a row for each true class.

    It is of the validation data, if there are any. test.py prints confusion_matrix_3_5, which is
    how often 5 was predicted for a 3.
    """

    of = "ConfusionMatrix"
    is_logged = False

    def compute(self) -> Any:
        if self.is_logged or self.metric is None or not self.metric.update_called:
            return super().compute()
        _matrices[getattr(self, "__name__", self.of)] = self.metric.compute().cpu()
        return {}


class perplexity(_Collected):
    """exp of the cross entropy of a token; outputs are (N, classes) or (N, classes, length)."""

    def make(self, kind: str, n: int) -> Any:
        return self.made(self.module().text.Perplexity, {"ignore_index": IGNORED})

    def prepare(self, output: Any, target: Any) -> tuple[str, int, Any, Any]:
        tokens = output.movedim(1, -1)
        tokens = tokens.reshape(1, -1, tokens.shape[-1])
        return "", 0, tokens, target.reshape(1, tokens.shape[1])


class mae(_Collected):
    """The mean absolute error."""

    of = "MeanAbsoluteError"


class r2(_Collected):
    """The share of the variance that is explained."""

    of = "R2Score"
