"""How a run goes on: which checkpoint `-r` means, what is in it, and a trainer that takes it up.

test.py and predict.py read checkpoints here, too. A new run does without this file.
"""

import pickle
import random
import zipfile
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_map

from utils import distributed
from utils.checkpoint import DEFAULTS, NUMPY, ON_CPU, State, shared_parts, with_state
from utils.errors import UserError, in_full, in_one_line
from utils.extras import find_hook, texts
from utils.files import find_file
from utils.run_dir import BEST_NAME, EPOCH_NAME, LAST_NAME, MARK_NAME, read_mark, saved_epochs

# The names of PyTorch's tutorial
TUTORIAL = {"model_state_dict": "state_dict", "optimizer_state_dict": "optimizer"}
OVER = ("finished", "stopped early")  # outcomes of a run that `-r auto` leaves alone


def config_of_run(cls: Any, args: Any, file: Path, modification: dict, to_train: bool) -> Any:
    """The config of a run: that in its checkpoint; with -c, or where a new one begins, `file`."""
    if not args.resume:
        raise UserError("command line: -r is empty")
    if is_named := args.resume in ("auto", "best"):
        given = cls.from_file(file, modification)
        path = find_named(given, args.resume, to_train)
    else:
        path = find_file(args.resume)
    if path is None or (args.config and not is_named):
        return cls.from_file(file, modification, resume=path)
    if not (found := read(path).get("config")):
        raise UserError(f"{path}: has no config in it: give one with -c")
    config = cls(found, path, modification, source=path)
    if is_named and to_train and Path(file).stat().st_mtime > path.stat().st_mtime:
        line = "-r %s: the run keeps its config; %s is newer: to take that, -r %s -c %s"
        given.get_logger("train").info(line, args.resume, file, path, file)
    return config


def newest_intact(run_dir: Path) -> Path | None:
    """The newest checkpoint of a run that can be read: last.pth, else by the number in the name."""
    names = map(EPOCH_NAME.format, reversed(saved_epochs(run_dir)))
    for path in [run_dir / name for name in (LAST_NAME, *names, BEST_NAME)]:
        try:
            if path.exists():
                read(path)
                return path
        except UserError as error:
            getLogger("train").info("%s; looking for the one before it", error)
    return None


def find_named(config: Any, name: str, to_train: bool = False) -> Path | None:
    """The newest checkpoint ("auto") of the run of a config last started, or its best ("best").

    None for "auto" with `to_train` where there is none, or the run is over; else UserError.
    """
    logger = config.get_logger("train")
    runs = [mark.parent for mark in config.runs_dir.rglob(MARK_NAME)]
    runs.sort(key=lambda run: (read_mark(run).get("started", ""), run.name), reverse=True)
    goes_on = name == "auto" and to_train  # with the last run, and with no older one
    path = next(filter(None, map(newest_intact, runs[:1] if goes_on else runs)), None)
    if goes_on:
        if runs and path is None:
            logger.info("-r auto: %s has no checkpoint: a new run begins", runs[0])
        if path is not None and read_mark(path.parent).get("outcome") in OVER:
            logger.info("-r auto: the last run is over, a new one begins; -r %s resumes it", path)
            return None
        return path
    if path is not None and name == "best":
        path = path.with_name(BEST_NAME)
    if path is not None and path.exists():
        return path
    raise UserError(f"command line: -r {name}: there is no such checkpoint in {config.runs_dir}")


def load(path: str | Path) -> State:
    """The state in a checkpoint, on the CPU. Runs no code from the file; UserError if it is bad."""
    return complete(read(Path(path), mmap=distributed.world_size() > 1), path)


def read(path: Path, mmap: bool = True) -> State:
    """The dict in a file, on the CPU. Raises UserError where that is not tensors and plain types.

    With `mmap`, tensors are read when they are used, and processes share the memory for them.
    """
    if path.is_dir():
        return find_hook("read_folder", f"{path}: is a folder, as of a sharded model")(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # compares the sums in the file
                raise zipfile.BadZipFile
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        return state if isinstance(state, dict) else {}
    except zipfile.BadZipFile:
        fault = "damaged, or not a checkpoint of torch 1.6 or later"
    except pickle.UnpicklingError:
        how = f"python -m tools.convert {path}" if "convert" in texts() else in_full()
        fault = f"holds more than tensors and plain types; to convert it: {how}"
    except Exception as error:  # such as a kind of tensor that this version of torch refuses
        fault = f"cannot be read: {getattr(error, 'strerror', None) or in_one_line(error)}"
    raise UserError(f"{path}: {fault}")


def complete(state: State, path: str | Path) -> State:
    """A state with all keys that this project expects. Raises UserError where it has no weights."""
    state = {TUTORIAL.get(k, k): v for k, v in state.items()}
    if not state.get("state_dict"):
        fault = "holds no weights under 'state_dict' or 'model_state_dict'"
        raise UserError(f"{path}: {state.get('fault', fault)}")
    return DEFAULTS | state


def set_weights(model: nn.Module, state_dict: State, path: Any) -> None:
    """Load weights. Raises UserError that names the first few which do not fit."""
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        faults = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise UserError(f"{path}: does not fit {type(model).__name__}: {faults}") from None


def weights_to_use(state: State) -> State:
    """The weights that a model is used with: their moving average, where the run has kept one."""
    if not (averaged := state.get("ema")):
        return state["state_dict"]
    return {k.removeprefix("module."): w for k, w in averaged.items() if k != "n_averaged"}


def go_on(trainer: Any, path: Path) -> None:
    """Put everything back to where it was when the checkpoint was written."""
    state = getattr(trainer.saver, "load", load)(path)
    keep_loss(state, trainer.config)
    for callback in trainer.callbacks:
        callback.on_checkpoint_load(trainer, state)
    if state["random"] is not None:  # else other code has written it
        refuse_another(trainer, state)
    restore(trainer, state)
    trainer.logger.info(f"Resuming after epoch {state['epoch']}, step {trainer.step} of {path}")


def keep_loss(state: State, config: Any) -> None:
    """Leave out the state of the loss where the config has another, which has its own numbers."""
    if (state["config"] or {}).get("loss") != config.given.get("loss"):
        for own in (state, *state["ranks"]):
            own["criterion"] = None


def refuse_another(trainer: Any, state: State) -> None:
    """Raises UserError for a state of other processes, another optimizer or another order."""
    resume, n, before = trainer.config.resume, distributed.world_size(), 1 + len(state["ranks"])
    if before != n:
        raise UserError(f"{resume}: is of {before} processes, not of {n}: {in_full()}")
    for key in ("optimizer", "lr_scheduler"):
        if state["config"].get(key) != trainer.config.given[key]:
            raise UserError(f"{key}: differs from that of {resume}: {in_full('its change is')}")
    position = state.get("data_loader")
    is_of_many = isinstance(position, dict) and position.get("order") == "feistel"
    sampler = getattr(trainer.rank_state.get("data_loader"), "sampler", None)
    if is_of_many and getattr(sampler, "order_name", "") != "feistel":
        raise UserError(f"data_loader: an order of many samples: {in_full()}")


def restore(trainer: Any, state: State) -> None:
    """The counterpart of `checkpoint.collect`. Raises UserError where something does not fit."""
    resume, is_ours = trainer.config.resume, state["random"] is not None  # else of other code
    own = [state, *state["ranks"]][distributed.rank()] if is_ours else {}
    parts = shared_parts(trainer) | {"criterion": with_state(trainer.criterion)}
    model = parts.pop("state_dict")
    set_weights(model, state["state_dict"], resume)
    parameters = dict(model.named_parameters() if state["optimizer"] else ())  # it goes by order
    names = [name for name in state["state_dict"] if name in parameters]
    if len(names) == len(parameters) and names != list(parameters):
        raise UserError(f"{resume}: the model has its weights in another order: {names[:3]}, …")
    for name, part in parts.items():
        try:
            of_run = own if name == "criterion" else state
            set_state(part, of_run.get(name) or None)  # {} is that of a switch which was off
        except (RuntimeError, ValueError) as error:  # as of an optimizer of other parameters
            how = "init_from begins a new run with its weights alone"
            fault = " ".join(str(error).split())
            raise UserError(f"{resume}: its {name} does not fit: {fault}; {how}") from None
    trainer.start_epoch = state["epoch"] + 1
    trainer.step, trainer.batch_idx = state["step"], state["batch_idx"]
    is_same = not is_ours or state["config"]["trainer"]["monitor"] == trainer.monitor
    if is_same and state["monitor_best"] is not None:
        trainer.mnt_best = float(state["monitor_best"])
        trainer.not_improved_count = state["not_improved_count"]
    for name, part in trainer.rank_state.items():
        if name != "train_metrics" or trainer.batch_idx > 0:  # else they begin anew
            device = "cpu" if name == "data_loader" else trainer.device
            set_state(part, unpack(own.get(name), device))
    if is_ours:
        set_random_state(own["random"])
    loader, position = trainer.rank_state.get("data_loader"), own.get("data_loader")
    before = position.get("of") if isinstance(position, dict) else None  # of a BaseDataLoader
    if before and hasattr(loader, "split_seed") and (now := loader.state_dict()["of"]) != before:
        line = "data_loader: [samples, split_seed] is %s, not %s: validation may have learnt ones"
        trainer.logger.warning(line, now, before)
    is_within_pass = trainer.batch_idx > 0 or (trainer.step > 0 and not trainer.epoch_is_pass)
    if is_within_pass and None in (loader, position):
        line = "No state of the data loader: its pass starts again, samples may come twice in epoch"
        trainer.logger.warning("%s %d", line, state["epoch"] + 1)


def set_random_state(state: State) -> None:
    """The counterpart of `seed.get_random_state`."""
    random.setstate(state["python"])
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def set_state(part: Any, state: Any) -> None:
    """The counterpart of `checkpoint.get_state`. What has no state stays as it is."""
    if isinstance(part, dict):
        for name, one in part.items():
            set_state(one, (state or {}).get(name))
    elif part is not None and state is not None:
        part.load_state_dict(state)
        if hasattr(part, "param_groups"):
            part._opt_called = True  # torch's own name: else it warns of a scheduler's next step


def unpack(state: Any, device: torch.device | str) -> Any:
    """The counterpart of `checkpoint.pack`, tensors on `device` but for those not there."""

    def is_marked(value: Any) -> bool:
        return isinstance(value, dict) and list(value) in ([NUMPY], [ON_CPU])

    def unmark(value: Any) -> Any:
        if is_marked(value):
            return value[ON_CPU] if ON_CPU in value else value[NUMPY].numpy()[()]
        return value.to(device) if isinstance(value, torch.Tensor) else value

    return tree_map(unmark, state, is_leaf=is_marked)
