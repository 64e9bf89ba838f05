"""Every key that the config may have: its type, its default and, as a comment, what it means.

A key without a default is required. A block of your own is a field more in `Settings`.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from utils.check import Range

Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Monitor = Annotated[str, re.compile(r"off|(min|max) \S+"), '"min NAME", "max NAME" or "off"']
FolderName = Annotated[str, re.compile(r"[^/\\]*[^/\\.][^/\\]*"), "a name for a folder"]


@dataclass
class Part:
    """A class or function and its arguments; a name alone stands for one without arguments."""

    type: str  # a name in the module of the key, or a dotted path like torch.optim.AdamW
    args: dict[str, Any] = field(default_factory=dict)  # keyword arguments


@dataclass
class Metric(Part):
    name: str | None = None  # in logs, where it is not that of the function or class


@dataclass
class Optimizer(Part):
    # Arguments for some parameters alone, by patterns of names: {"*.bias": {"lr": 0.1}}
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Scheduler(Part):
    interval: Literal["epoch", "step"] = "epoch"  # when it moves on; on a plateau, each epoch


@dataclass
class InitFrom:
    checkpoint: str  # the file with the weights, of this project or of others
    strict: bool = True  # every weight must fit; if false, a line says which do not
    # Other beginnings for names in the file: {"backbone.": ""}; with null they are left out
    prefixes: dict[str, str | None] = field(default_factory=dict)


@dataclass
class SaveEvery:
    steps: Positive | None = None  # save last.pth after so many more optimizer steps
    minutes: Annotated[float, Range(0)] | None = None  # and so long after the last save


@dataclass
class Parallel:
    type: Literal["ddp", "fsdp"] = "ddp"  # with fsdp a process has a part of each weight
    blocks: list[str] = field(default_factory=list)  # fsdp: classes that are gathered one by one
    recompute: list[str] = field(default_factory=list)  # classes for activation checkpointing
    sync_batch_norm: bool = False  # statistics over the batches of all processes; on GPUs only
    find_unused_parameters: bool = False  # allow steps without some parameters; takes time


@dataclass
class TrainerSettings:
    epochs: Positive = 10  # in all; a resumed run counts those that it has behind it
    len_epoch: Positive | None = None  # batches in an epoch; null: one pass over the training data
    save_dir: str = "saved"  # where runs are kept: each in <save_dir>/<name>/<run_id>/
    save_period: Positive = 1  # a checkpoint every so many epochs, and after the last
    save_every: SaveEvery = field(default_factory=SaveEvery)  # when to save within epochs too
    keep_last: Positive | None = None  # how many of them to keep; the best one is always kept
    monitor: Monitor = "min val_loss"  # what model_best.pth and early_stop go by
    early_stop: Count | None = None  # stop after so many epochs without improvement; 0: never
    non_finite: Literal["stop", "skip", "ignore"] = "stop"  # what to do at a NaN or an infinity
    max_skipped: Count = 100  # with "skip", how many steps of a run may be skipped
    accumulate_steps: Positive = 1  # batches of an optimizer step, weighted by their samples
    clip_grad_norm: Annotated[float, Range(0)] | None = None  # the largest norm of the gradients
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"  # what a GPU computes in
    compile: bool | dict[str, Any] = False  # torch.compile the model; a block gives its options
    channels_last: bool = False  # the order in memory that convolutions on a GPU like best
    ema: Annotated[float, Range(0, below=1)] | None = None  # decay of averaged weights, then used
    log_step: Positive = 100  # batches between two lines of progress
    verbosity: Literal[0, 1, 2] = 2  # 0: warnings; 1: also epochs; 2: also progress within epochs
    tensorboard: bool = True  # write TensorBoard event files into the run directory
    histograms: bool = False  # show TensorBoard the weights and gradients after each epoch
    # Send the same values to Weights & Biases or MLflow, which are to be installed
    trackers: list[Literal["wandb", "mlflow"]] = field(default_factory=list)
    report: bool = True  # at the end, write report.html into the run directory


@dataclass
class Settings:
    arch: Part  # the model: a class in model/model.py
    data_loader: Part  # the data: a class in data_loader/data_loaders.py
    optimizer: Optimizer | dict[str, Optimizer]  # in torch.optim; several by parts of the model
    loss: Part | dict[str, Part]  # in model/loss.py, torch.nn or torch.nn.functional
    init_from: InitFrom | None = None  # begin a new run with the weights of a checkpoint
    # Until which epoch not to train parameters, by patterns: {"body.*": 3, "stem.*": null}
    freeze: dict[str, Positive | None] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)  # functions and classes in model/metric.py
    lr_scheduler: Scheduler | dict[str, Scheduler] | None = None  # in torch.optim.lr_scheduler
    # What outputs mean, for predict.py and the report; null: what the loss makes certain
    task: Literal["multiclass", "binary", "multilabel", "regression", "none"] | None = None
    name: FolderName = "experiment"  # the runs are kept in a folder of this name
    seed: Annotated[int, Range(0, below=2**64)] = 0  # of initial weights, dropout, order of data
    deterministic: bool = False  # deterministic algorithms only; where there is none, stop
    device: str = "auto"  # auto, cpu, cuda, cuda:1 or mps; auto takes the first GPU there is
    n_gpu: Count | None = None  # of older projects: 0 means cpu; for several GPUs use torchrun
    parallel: Parallel = field(default_factory=Parallel)  # how processes of torchrun work together
    trainer: TrainerSettings = field(default_factory=TrainerSettings)  # how long, what to keep
