"""The trials of a sweep, shared by all processes that work on it through a storage of Optuna.

A trial is RUNNING while a process owns it, WAITING where none does, COMPLETE or PRUNED at its end.
Its user attributes say the rest: `owner`, `params`, a `run ...` for each training that is done, and
`error`, why it failed; it then stands as WAITING, so that `retry` can take it again.
"""

import inspect
import os
import platform
import threading
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from base.sampler import derive_seed
from tools.history import is_alive
from tools.search import Search, Values, differences, one_line, to_choice
from utils.check import look_up
from utils.errors import UserError

BEAT = 10  # seconds between two signs of life
LOCKED = 30  # seconds that nothing takes with the lock of a journal
UNOWNED = 5  # seconds that a process has between taking a trial and saying so
WAITING, RUNNING = TrialState.WAITING, TrialState.RUNNING


class Lock:
    """Of a journal, as Optuna's; but a process of this machine that was killed holds it no longer.

    A link is made by one process only, on a shared file system too. It names its owner.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".lock")
        self.owner = f"{platform.node()}:{os.getpid()}"

    def acquire(self) -> bool:
        seen, since = "", 0.0
        while True:
            try:
                self.path.symlink_to(self.owner)
                return True
            except FileExistsError:
                with suppress(OSError):  # it was released just now
                    owner = os.readlink(self.path)
                    host, _, pid = owner.rpartition(":")
                    is_dead = host == platform.node() and not is_alive(int(pid), now())
                    if owner != seen:
                        seen, since = owner, time.monotonic()
                    if is_dead or time.monotonic() - since > LOCKED:
                        self.path.unlink()
                time.sleep(0.005)

    def release(self) -> None:
        with suppress(OSError):
            self.path.unlink()


def open_storage(where: str) -> Any:
    """Optuna's storage: a database by its URL, else a journal, which is a file.

    Raises UserError where it cannot be reached.
    """
    try:
        return open_database(where) if "://" in where else open_journal(Path(where))
    except ImportError as error:
        reason = f"has no driver here: {error.__cause__ or error}"
    except Exception as error:  # of the database's own module
        reason = f"cannot be reached: {reason_of(error)}"
    raise UserError(f"--storage {hidden(where)}: {reason}")


def reason_of(error: Exception) -> str:
    """What a database has said, without what SQLAlchemy and Optuna say around it."""
    cause = error.__cause__ or error
    return one_line(getattr(cause, "orig", None) or cause)


def open_database(url: str) -> Any:
    timeout = {} if url.startswith("sqlite") else {"connect_args": {"connect_timeout": 10}}
    for tries_left in (2, 1, 0):
        try:
            return optuna.storages.get_storage(optuna.storages.RDBStorage(url, timeout))
        except Exception as error:  # such as that another process makes the tables just now
            if tries_left == 0 or isinstance(error, ImportError):
                raise
            time.sleep(1)


def open_journal(path: Path) -> Any:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock: Any = Lock(path) if os.name == "posix" else JournalFileOpenLock(str(path))
    drop_half_line(path, lock)
    return optuna.storages.JournalStorage(JournalFileBackend(str(path), lock))


def hidden(where: str) -> str:
    """The name of a storage without the password in it."""
    scheme, separator, rest = where.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}"


def drop_half_line(path: Path, lock: Any) -> None:
    """Cut off what a process or machine that died has written of a last line."""
    lock.acquire()
    try:
        with path.open("a+b") as file:
            file.seek(0)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


class Study:
    """The first `n_trials` of a study; methods can be called by several threads."""

    def __init__(
        self, storage: Any, name: str, mode: str, search: Search | None, seed: int
    ) -> None:
        self.storage, self.name, self.search, self.seed = storage, name, search, seed
        self.n_trials = 0
        self.me = {"host": platform.node(), "pid": os.getpid(), "time": now()}
        self.points = search.points() if search is not None and search.is_grid else None
        self.lock = threading.Lock()  # one thread at a time looks for a trial
        self.seen: dict[int, tuple[Any, float]] = {}  # owners of others, and since when unchanged
        direction: Any = {"min": "minimize", "max": "maximize"}[mode]
        optuna.create_study(
            storage=storage, study_name=name, direction=direction, load_if_exists=True
        )
        self.id = storage.get_study_id_from_name(name)

    def begin(self, setup: dict[str, Any], name: str) -> None:
        """Refuse a study that began with another setup: its trials could not be compared."""
        key = "setup"
        if key not in self.storage.get_study_user_attrs(self.id):
            self.storage.set_study_user_attr(self.id, key, setup)
        before = self.storage.get_study_user_attrs(self.id)[key]
        for path, old, new in differences(before, setup):
            what = f"began with {path} = {old!r}, which is now {new!r}"
            raise UserError(f"sweep {name!r} {what}; --name gives another sweep its name")

    def trials(self) -> list[FrozenTrial]:
        """Those that have been begun by any process, in their order."""
        trials = self.storage.get_all_trials(self.id, deepcopy=False)
        return sorted(trials, key=lambda trial: trial.number)[: self.n_trials]

    def is_over(self) -> bool:
        trials = self.trials()
        return len(trials) == self.n_trials and all(map(is_done, trials))

    def take(self, grace: float) -> FrozenTrial | None:
        """A trial that is now this process's: one to go on with, else a new one; None without."""
        with self.lock:
            trials = self.trials()
            for trial in trials:
                if is_done(trial):
                    continue
                if trial.state == RUNNING and self.take_over(trial, grace):
                    return self.prepared(trial._trial_id)
                if trial.state == RUNNING and trial.user_attrs.get("owner") is None:
                    return None  # that will be known in a moment: the order of trials stays
                if trial.state == WAITING and self.storage.set_trial_state_values(
                    trial._trial_id, RUNNING
                ):
                    self.own(trial._trial_id)
                    return self.prepared(trial._trial_id)
            if len(trials) == self.n_trials:
                return None
            attributes = {"owner": self.me | {"beat": time.time()}}
            new = optuna.trial.create_trial(state=RUNNING, user_attrs=attributes)
            trial_id = self.storage.create_new_trial(self.id, new)
            if self.storage.get_trial(trial_id).number >= self.n_trials:  # others were faster
                self.leave(self.storage.get_trial(trial_id))
                return None
            return self.prepared(trial_id)

    def take_over(self, trial: FrozenTrial, grace: float) -> bool:
        """Whether a trial was left by a process that has died, and is now this one's.

        Of several that see it so at the same time, the one that writes last has it: they write at
        once, then wait longer than any of them takes from looking to writing, and look again.
        """
        owner: Any = trial.user_attrs.get("owner")
        is_here = owner is not None and owner["host"] == self.me["host"] and os.name == "posix"
        if is_here:
            if is_alive(owner["pid"], owner["time"]):
                return False
        else:
            known, since = self.seen.get(trial.number, (None, 0.0))
            if known != owner or trial.number not in self.seen:
                self.seen[trial.number] = (owner, time.monotonic())
                return False
            if time.monotonic() - since < (UNOWNED if owner is None else grace):
                return False
        latest = self.storage.get_trial(trial._trial_id)
        if latest.state != RUNNING or latest.user_attrs.get("owner") != owner:
            return False
        self.own(trial._trial_id)
        time.sleep(0.2 if is_here else 2)
        return self.is_mine(trial._trial_id)

    def own(self, trial_id: int) -> None:
        """Give a sign of life; the first one says whose a trial is."""
        self.storage.set_trial_user_attr(trial_id, "owner", self.me | {"beat": time.time()})

    def is_mine(self, trial_id: int) -> bool:
        trial = self.storage.get_trial(trial_id)
        owner = trial.user_attrs.get("owner") or {}
        return trial.state == RUNNING and self.me.items() <= owner.items()

    def prepared(self, trial_id: int) -> FrozenTrial:
        """A trial with all its parameters, which are chosen if they are not yet.

        What a sampler draws is a function of the seed, the number of the trial and the trials that
        are finished, so that a process that was killed does not change it.
        """
        trial = self.storage.get_trial(trial_id)
        if self.search is not None:
            if "params" not in trial.user_attrs:
                params = self.choose(trial)
                self.storage.set_trial_user_attr(trial_id, "params", params)
                trial = self.storage.get_trial(trial_id)
            for key, value in trial.user_attrs["params"].items():
                if key not in trial.params:
                    kind = self.search.space[key].distribution
                    internal = kind.to_internal_repr(to_choice(value))
                    self.storage.set_trial_param(trial_id, key, internal, kind)
        return self.storage.get_trial(trial_id)

    def choose(self, trial: FrozenTrial) -> Values:
        """The values of a new trial, by the keys of the config."""
        assert self.search is not None
        if self.points is not None:
            return self.points[trial.number]
        is_counted = self.search.sampler.type == "QMCSampler"  # goes by the storage, not by draws
        seed = derive_seed(self.seed, 0 if is_counted else trial.number) % 2**32
        sampler = build_sampler(self.search, seed)
        study = optuna.load_study(study_name=self.name, storage=self.storage, sampler=sampler)
        sampler.before_trial(study, trial)
        relative_space = sampler.infer_relative_search_space(study, trial)
        relative = sampler.sample_relative(study, trial, relative_space)
        values: Values = {}
        for key, dimension in self.search.space.items():
            if dimension.applies(values):
                kind = dimension.distribution
                value = relative.get(key)
                if key not in relative:
                    value = sampler.sample_independent(study, trial, key, kind)
                choices = {to_choice(choice): choice for choice in dimension.choices or ()}
                values[key] = choices.get(value, value)
        return values

    def finish(self, trial: FrozenTrial, value: float | None) -> None:
        """The end of a trial; without a value it was pruned."""
        sampler = None if self.search is None or self.search.is_grid else build_sampler(self.search)
        study = optuna.load_study(study_name=self.name, storage=self.storage, sampler=sampler)
        study.tell(trial.number, value, TrialState.PRUNED if value is None else None)

    def leave(self, trial: FrozenTrial, error: str | None = None) -> None:
        """Let others go on with a trial, or say why it failed."""
        if error is not None:
            self.storage.set_trial_user_attr(trial._trial_id, "error", error)
        self.storage.set_trial_user_attr(trial._trial_id, "owner", None)
        self.storage.set_trial_state_values(trial._trial_id, WAITING)

    def retry(self) -> None:
        """Let trials that have failed be taken again."""
        for trial in self.trials():
            if trial.user_attrs.get("error"):
                self.storage.set_trial_user_attr(trial._trial_id, "error", None)


def is_done(trial: FrozenTrial) -> bool:
    """Whether a trial is at its end, or has failed."""
    return trial.state.is_finished() or bool(trial.user_attrs.get("error"))


def build_sampler(search: Search, seed: int | None = None) -> Any:
    """The sampler of a search; with a seed, unless the file gives one."""
    found = look_up(search.sampler.type, optuna.samplers)
    takes_seed = "seed" in inspect.signature(found).parameters
    return found(**{**({"seed": seed} if takes_seed else {}), **search.sampler.args})


def build_pruner(part: dict[str, Any]) -> Any:
    """The pruner that a block of a search file, with its type and args, describes."""
    return look_up(part["type"], optuna.pruners)(**part["args"])
