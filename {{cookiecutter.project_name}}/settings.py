"""Every key that the config may have: its type, its default and what it means.

A key without a default is required. A block of your own is a field more in `Settings`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from utils.check import Pattern, Range


@dataclass
class Part:
    """A class or function and its arguments; a name alone stands for one without arguments."""

    type: str
    """Its name in the module that the key belongs to, or a dotted path like torch.optim.AdamW."""
    args: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments."""


@dataclass
class Metric(Part):
    name: str | None = None
    """The name in logs, where it is not that of the function or class."""


@dataclass
class Optimizer(Part):
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Arguments for some parameters alone, by patterns of names: {"*.bias": {"lr": 0.1}}."""


@dataclass
class Scheduler(Part):
    interval: Literal["epoch", "step"] = "epoch"
    """When it moves on; ReduceLROnPlateau follows `trainer.monitor` after each epoch."""


@dataclass
class InitFrom:
    checkpoint: str
    """The file with the weights, of this project or of others."""
    strict: bool = True
    """Every weight must fit; if false, those that fit are taken, and a line says which not."""
    prefixes: dict[str, str | None] = field(default_factory=dict)
    """Other beginnings for names in the file: {"backbone.": ""}; with null they are left out."""


@dataclass
class SaveEvery:
    steps: Annotated[int, Range(1)] | None = None
    """Save last.pth whenever so many more optimizer steps are done."""
    minutes: Annotated[float, Range(0)] | None = None
    """Save last.pth at the first step after so many minutes since the last save."""


@dataclass
class Parallel:
    type: Literal["ddp", "fsdp"] = "ddp"
    """Every process has the whole model, or with fsdp a part of each weight: for large models."""
    blocks: list[str] = field(default_factory=list)
    """With fsdp, the classes in the model, such as its layers, that are gathered one by one."""
    recompute: list[str] = field(default_factory=list)
    """Activation checkpointing: classes in the model that compute their activations twice."""
    sync_batch_norm: bool = False
    """Batch norm takes its statistics over the batches of all processes; on GPUs only."""
    find_unused_parameters: bool = False
    """Allow steps in which some parameters take no part; looking for them takes time."""


@dataclass
class TrainerSettings:
    epochs: Annotated[int, Range(1)] = 10
    """How many epochs to train in all; a resumed run counts those that it has behind it."""
    len_epoch: Annotated[int, Range(1)] | None = None
    """Batches in an epoch; null means one pass over the training data."""
    save_dir: str = "saved"
    """Where runs are kept: each in <save_dir>/<name>/<run_id>/."""
    save_period: Annotated[int, Range(1)] = 1
    """A checkpoint every so many epochs, and after the last."""
    save_every: SaveEvery = field(default_factory=SaveEvery)
    """When to save within epochs too."""
    keep_last: Annotated[int, Range(1)] | None = None
    """How many of these checkpoints to keep; null keeps all. model_best.pth is always kept."""
    monitor: Annotated[str, Pattern(r"off|(min|max) \S+", '"min NAME", "max NAME" or "off"')] = (
        "min val_loss"
    )
    """The value that model_best.pth and early_stop go by, and whether less or more is better."""
    early_stop: Annotated[int, Range(0)] | None = None
    """Stop after so many epochs in a row without improvement; 0 and null never do."""
    non_finite: Literal["stop", "skip", "ignore"] = "stop"
    """What to do about a loss or gradient that is not finite, before it reaches the weights."""
    max_skipped: Annotated[int, Range(0)] = 100
    """With "skip", how many steps of a run may be skipped before it stops."""
    accumulate_steps: Annotated[int, Range(1)] = 1
    """Batches that make one optimizer step, each with the weight of its samples."""
    clip_grad_norm: Annotated[float, Range(0)] | None = None
    """The largest norm that the gradients of a step may have; 0 and null clip nothing."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """What a GPU computes in; bf16 and fp16 use autocast, fp16 with a scaled loss."""
    compile: bool | dict[str, Any] = False
    """torch.compile the model; a block gives its options, such as {"mode": "max-autotune"}."""
    channels_last: bool = False
    """The order in memory that convolutions on a GPU like best."""
    ema: Annotated[float, Range(0, below=1)] | None = None
    """Keep a moving average of the weights with this decay, and validate, test and use that."""
    log_step: Annotated[int, Range(1)] = 100
    """Batches between two lines of progress, on the console and in TensorBoard."""
    verbosity: Literal[0, 1, 2] = 2
    """0 shows warnings, 1 also a line for each epoch, 2 also progress within epochs."""
    tensorboard: bool = True
    """Write TensorBoard event files into the run directory."""
    histograms: bool = False
    """Show TensorBoard how weights and gradients are distributed after each epoch."""
    trackers: list[Literal["wandb", "mlflow"]] = field(default_factory=list)
    """Send the same values to Weights & Biases or MLflow, which are to be installed."""
    report: bool = True
    """At the end, write report.html into the run directory, for any browser."""


# Keys that a file in tools/ serves: where that was deleted, only their defaults are valid
SERVED_BY = {
    "init_from": "init_from",
    "freeze": "freeze",
    "parallel.type": "fsdp",
    "parallel.recompute": "recompute",
    "parallel.sync_batch_norm": "sync_batch_norm",
    "trainer.non_finite": "skip_steps",
    "trainer.trackers": "trackers",
    "trainer.histograms": "pictures",
}


@dataclass
class Settings:
    arch: Part
    """The model: a class in model/model.py."""
    data_loader: Part
    """The data: a class in data_loader/data_loaders.py."""
    optimizer: Optimizer | dict[str, Optimizer]
    """A class in torch.optim, or several by the name of the part of the model that each trains."""
    loss: Part | dict[str, Part]
    """In model/loss.py, torch.nn or torch.nn.functional; or several by name."""
    init_from: InitFrom | None = None
    """Begin a new run with the weights of a checkpoint."""
    freeze: dict[str, Annotated[int, Range(1)] | None] = field(default_factory=dict)
    """Until which epoch not to train parameters, by patterns: {"body.*": 3, "stem.*": null}."""
    metrics: list[Metric] = field(default_factory=list)
    """In model/metric.py: functions of (output, target), or classes with update, compute, reset."""
    lr_scheduler: Scheduler | dict[str, Scheduler] | None = None
    """A class in torch.optim.lr_scheduler; several by name, as the optimizers."""
    task: Literal["multiclass", "binary", "multilabel", "regression", "none"] | None = None
    """What outputs mean, for predict.py and the report; null: what the loss makes certain."""
    name: Annotated[str, Pattern(r"[^/\\]*[^/\\.][^/\\]*", "a name for a folder")] = "experiment"
    """The name of the experiment: its runs are kept in a folder of this name."""
    seed: Annotated[int, Range(0, below=2**64)] = 0
    """Decides initial weights, dropout and the order of the data."""
    deterministic: bool = False
    """Use deterministic algorithms only, which can be slower; where there is none, stop."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps; auto takes the first GPU there is."""
    n_gpu: Annotated[int, Range(0)] | None = None
    """For configs of older projects: 0 means cpu. For several GPUs start train.py with torchrun."""
    parallel: Parallel = field(default_factory=Parallel)
    """How several processes work together that torchrun has started."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """How long to train, what to keep, when to stop."""
