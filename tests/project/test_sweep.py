"""sweep.py without its trainings: folds, the space of a search, who has which trial, the table."""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from math import sqrt

import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

pytest.importorskip("optuna")

from optuna.trial import TrialState

import digits_example
from base import BaseDataLoader
from data_loader import data_loaders
from sweep import main
from test import build_test_loader
from tools import folds
from tools.groups import Group, as_text, p_values, paired_p, two_sided
from tools.plan import Plan
from tools.search import Search, read_search
from tools.study import Study, open_storage
from tools.sweep_table import Results
from tools.work import TrialFailed, environments, run_of
from train import build_trainer, part_modules
from utils.check import read_value
from utils.errors import UserError
from utils.run_dir import mark_start


class Samples(Dataset):
    """What the given function makes of an index."""

    def __init__(self, n, make, **attributes):
        self.n, self.make = n, make
        vars(self).update(attributes)

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return self.make(index)


def loaders(config, n, **changes):
    """The training loader of each fold."""
    changes = {"data_loader.type": "tools.folds.DigitsDataLoader", **changes}
    changes |= {"data_loader.args.folds": n}
    for fold in range(n):
        one = config(changes | {"data_loader.args.fold": fold})
        one.check_parts(part_modules())
        yield one.init_obj("data_loader", part_modules()["data_loader"])


def test_each_sample_is_validated_once_and_trained_in_the_other_folds(make_config):
    seen = []
    for loader in loaders(make_config, 5):
        train, valid = set(loader.sampler.indices.tolist()), loader.valid_sampler.indices.tolist()
        assert train | set(valid) == set(range(1500)) and not train & set(valid)
        assert loader.n_samples == len(train) == 1500 - len(valid)
        assert sum(len(y) for _, y in loader.split_validation()) == len(valid)
        seen += valid
    assert sorted(seen) == list(range(1500))


def test_folds_have_the_same_share_of_each_class(make_config):
    counts = [
        loader.dataset.tensors[1][loader.valid_sampler.indices].bincount()
        for loader in loaders(make_config, 7)
    ]
    most, least = torch.stack(counts).max(dim=0).values, torch.stack(counts).min(dim=0).values
    assert (most - least).max() <= 1


def test_the_test_data_are_not_touched(make_config):
    changes = {"data_loader.type": "tools.folds.DigitsDataLoader", "data_loader.args.fold": 0}
    config = make_config(changes | {"data_loader.args.folds": 5})
    found = build_test_loader(config)
    usual = build_test_loader(make_config())
    assert found.split_validation() is None
    assert torch.equal(found.dataset.tensors[0], usual.dataset.tensors[0])


def split(dataset, n, **attributes):
    """(N,) folds of a data set, by a loader with these attributes."""
    return folds.find_folds(dataset, n, type("Loader", (), {"split_seed": 0, **attributes})())


def test_groups_stay_together_and_classes_are_spread():
    labels = [index // 3 % 2 for index in range(240)]
    patients = torch.tensor([index // 3 for index in range(240)])
    data = Samples(240, lambda index: (0.0, labels[index]), labels=labels, patient=patients)
    fold_of = split(data, 4, group_key="patient")
    assert all(len(set(fold_of[patients == one].tolist())) == 1 for one in range(80))
    for fold in range(4):
        own = torch.tensor(labels)[fold_of == fold]
        assert own.bincount().tolist() == [30, 30]
    in_samples = Samples(
        240, lambda index: {"x": 0.0, "label": labels[index], "patient": index // 3}
    )
    assert torch.equal(split(in_samples, 4, group_key="patient"), fold_of)


PAIRS = TensorDataset(torch.zeros(6, 2), torch.tensor([0, 1, 2, 0, 1, 2]))
WORDS = Samples(2, None, targets=["cat", "dog"])


@pytest.mark.parametrize(
    ("dataset", "labels"),
    [
        (PAIRS, [0, 1, 2, 0, 1, 2]),
        (Subset(PAIRS, [5, 0]), [2, 0]),
        (ConcatDataset([PAIRS, Subset(PAIRS, [1])]), [0, 1, 2, 0, 1, 2, 1]),
        (WORDS, ["cat", "dog"]),
        (Samples(3, lambda index: (0.5, index % 2)), [0, 1, 0]),
        (Samples(3, lambda index: (0.5, 0.5, torch.tensor(index))), [0, 1, 2]),
        (Samples(2, lambda index: {"image": 0.5, "label": index}), [0, 1]),
        (TensorDataset(torch.zeros(3, 2), torch.zeros(3)), None),
        (Samples(3, lambda index: (0.5, float(index))), None),
        (Samples(3, lambda index: {"image": 0.5}), None),
        (Samples(3, lambda index: 0.5), None),
    ],
)
def test_labels_are_found_where_there_are_some(dataset, labels):
    assert folds.labels_of(dataset) == labels


def test_to_read_labels_leaves_random_numbers_as_they_are():
    torch.manual_seed(1)
    expected = torch.rand(())
    torch.manual_seed(1)
    split(Samples(9, lambda index: (torch.rand(2), index % 3)), 3)
    assert torch.rand(()) == expected


@pytest.mark.parametrize(
    ("dataset", "attributes", "message"),
    [
        (PAIRS, {}, "folds = 5: class 0 has 2 samples; stratify = False in the loader leaves"),
        (PAIRS, {"stratify": False, "n": 7}, "folds = 7: there are 6 samples"),
        (Samples(9, lambda i: 0.5, who=[0] * 9), {"group_key": "who"}, "there are 1 groups by who"),
        (Samples(9, lambda i: 0.5), {"group_key": "who"}, "group_key = 'who': is no attribute"),
    ],
)
def test_too_many_folds_are_refused(dataset, attributes, message):
    n = attributes.pop("n", 5)
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as caught:
        split(dataset, n, **attributes)
    assert "\n" not in str(caught.value)


def test_without_labels_folds_are_of_the_same_size():
    assert split(PAIRS, 5, stratify=False).bincount().tolist() == [2, 1, 1, 1, 1]


class Fixed(BaseDataLoader):
    """A loader that takes no argument of the split."""

    share = 0.1

    def __init__(self):
        BaseDataLoader.__init__(self, PAIRS, 2, True, self.share, 0)

    def _split_sampler(self, split):
        raise AssertionError("folds come in the place of a split of its own")


def test_a_loader_that_takes_no_options_gets_folds_too(monkeypatch):
    monkeypatch.setattr(data_loaders, "Fixed", Fixed, raising=False)
    with pytest.raises(UserError, match="Fixed calls BaseDataLoader.__init__ by name"):
        folds.Fixed(fold=0, folds=2)
    monkeypatch.setattr(
        Fixed, "__init__", lambda self: super(Fixed, self).__init__(PAIRS, 2, True, 0.1, 0)
    )
    loader = folds.Fixed(fold=0, folds=2)
    assert isinstance(loader, Fixed) and len(loader.valid_sampler) == 3


class Words(IterableDataset):
    def __iter__(self):
        yield from "abc"


def test_a_stream_has_no_folds(monkeypatch):
    def build(self):
        super(Fixed, self).__init__(Words(), 2, False, 0, 0)

    monkeypatch.setattr(data_loaders, "Fixed", Fixed, raising=False)
    monkeypatch.setattr(Fixed, "__init__", build)
    with pytest.raises(UserError, match="a Words is a stream: nothing to split"):
        folds.Fixed(fold=0, folds=2)


@pytest.fixture
def make_plan(make_config):
    def make(search=None, changes=None, **options):
        plan = Plan(make_config(changes), "name", **options)
        if search is not None:
            plan.search = read_value(Search, search, (), [])
        return plan

    return make


def test_folds_are_refused_before_any_training(make_plan):
    with pytest.raises(UserError, match="folds = 200: class . has 1.. samples"):
        make_plan(folds=200).check_folds()
    plan = make_plan(folds=5, changes={"data_loader.args.validation_split": 0})
    plan.check_folds()
    with pytest.raises(UserError, match="--folds: torch.utils.data.DataLoader: import it"):
        make_plan(
            folds=5, changes={"data_loader.type": "torch.utils.data.DataLoader"}
        ).check_folds()


SPACE = {
    "optimizer.args.lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
    "optimizer.type": {"type": "categorical", "choices": ["Adam", "SGD"]},
    "optimizer.args.momentum": {
        "type": "float",
        "low": 0,
        "high": 0.9,
        "when": {"optimizer.type": "SGD"},
    },
}


def test_a_search_that_is_right_is_read(make_plan, tmp_path):
    path = tmp_path / "search.json"
    part = {"type": "MedianPruner", "args": {"n_startup_trials": 2}}
    path.write_text(json.dumps({"space": SPACE, "pruner": part}))
    plan = make_plan(changes={"optimizer.args": {"lr": 0.1}})
    search = read_search(path, plan.check)
    assert search.sampler.type == "TPESampler" and search.pruner.args == {"n_startup_trials": 2}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"optimizer.args.lrr": SPACE["optimizer.args.lr"]},
            "lrr: unknown key; did you mean 'lr'?",
        ),
        (
            {"optimizr.args.lr": SPACE["optimizer.args.lr"]},
            "unknown key; did you mean 'optimizer'?",
        ),
        ({"data_loader.args.batch_size": {"type": "float", "low": 1, "high": 9}}, "a whole number"),
        ({"data_loader.args.batch_size": {"type": "int", "low": 0, "high": 9}}, "1 or more"),
        ({"trainer.epochs": {"type": "int", "low": 1.5, "high": 9}}, "takes whole numbers"),
        ({"trainer.epochs": {"type": "int", "low": 9, "high": 1}}, "low <= high"),
        ({"trainer.epochs": {"type": "int", "low": 1}}, "takes low and high"),
        ({"trainer.epochs": {"type": "integer", "low": 1, "high": 2}}, '"float" or "int"'),
        ({"trainer.epochs": {"type": "int", "min": 1, "high": 2}}, "min: unknown key"),
        ({"optimizer.args.lr": {"type": "float", "low": 0, "high": 1, "log": True}}, "low > 0"),
        ({"optimizer.type": {"type": "categorical", "choices": []}}, "takes choices"),
        ({"optimizer.type": {"type": "categorical", "choices": ["Adm"]}}, "did you mean 'Adam'?"),
        (
            {"optimizer.args.lr": SPACE["optimizer.args.lr"] | {"when": {"x": 1}}},
            "no dimension above",
        ),
        ({"seed": {"type": "int", "low": 0, "high": 4}}, "--seeds N takes several"),
        ({}, "has no dimension"),
    ],
)
def test_a_mistake_in_a_space_is_a_line(make_plan, tmp_path, space, message):
    path = tmp_path / "search.json"
    path.write_text(json.dumps({"space": space}))
    with pytest.raises(UserError) as caught:
        read_search(path, make_plan().check)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: space") and message in line


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"sampler": "TPESmpler"}, "sampler.type: there is no 'TPESmpler' in optuna.samplers; did"),
        ({"pruner": {"type": "MedianPruner", "args": {"n": 1}}}, "pruner.args.n: unknown key"),
        ({"sampler": "GridSampler"}, "a grid takes choices or a step"),
        ({"samplr": "TPESampler"}, "samplr: unknown key; did you mean 'sampler'?"),
    ],
)
def test_a_mistake_in_sampler_or_pruner_is_a_line(make_plan, tmp_path, more, message):
    path = tmp_path / "search.json"
    path.write_text(
        json.dumps({"space": {"optimizer.args.lr": SPACE["optimizer.args.lr"]} | {}, **more})
    )
    with pytest.raises(UserError, match=r"^[^\n]*$") as caught:
        read_search(path, make_plan().check)
    assert message in str(caught.value)


def test_a_grid_has_each_point_once_conditions_included(make_plan):
    space = {
        "trainer.ema": {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1},
        "optimizer.type": {"type": "categorical", "choices": ["Adam", "SGD"]},
        "optimizer.args.momentum": {
            "type": "categorical",
            "choices": [0, 0.9],
            "when": {"optimizer.type": ["SGD"]},
        },
    }
    plan = make_plan({"space": space, "sampler": "GridSampler"})
    points = plan.search.points()
    assert len(points) == plan.n_trials == 9
    assert points[:2] == [
        {"trainer.ema": 0.1, "optimizer.type": "Adam"},
        {"trainer.ema": 0.1, "optimizer.type": "SGD", "optimizer.args.momentum": 0},
    ]
    assert {point["trainer.ema"] for point in points} == {0.1, 0.2, 0.3}


def test_each_case_is_a_training_with_its_own_config(make_plan):
    plan = make_plan(seeds=2, folds=2, changes={"seed": 5})
    trainings = [one for number in range(plan.n_trials) for one in plan.trainings(number, {})]
    assert [(one.seed, one.fold) for one in trainings] == [(5, 0), (5, 1), (6, 0), (6, 1)]
    assert trainings[3].run_id == "name_seed6_fold1"
    args = trainings[3].config["data_loader"]["args"]
    assert trainings[3].config["seed"] == 6 and (args["fold"], args["folds"]) == (1, 2)


def test_choices_can_be_blocks(make_plan, tmp_path):
    choices = [{"type": "SGD", "args": {"lr": 0.1}}, "Adam"]
    space = {"optimizer": {"type": "categorical", "choices": choices}}
    study, plan = make_study(make_plan, tmp_path, {"space": space})
    values = [study.take(60).user_attrs["params"]["optimizer"] for _ in range(6)]
    assert {repr(one) for one in values} == {repr(one) for one in choices}
    assert plan.check({"optimizer": choices[0]})["optimizer"]["type"] == "SGD"


def make_study(make_plan, tmp_path, search=None, n_trials=6, **options):
    search = search or {
        "space": SPACE,
        "sampler": {"type": "TPESampler", "args": {"n_startup_trials": 2}},
    }
    plan = make_plan(search, {"optimizer.args": {"lr": 0.1}}, **options)
    study = Study(open_storage(str(tmp_path / "journal.log")), "a/b", "min", plan.search, 0)
    study.begin(plan.setup, "b")
    study.n_trials = n_trials
    return study, plan


def objective(trial):
    return trial.user_attrs["params"]["optimizer.args.lr"] * (1 + trial.number % 3)


def test_what_a_sampler_draws_does_not_depend_on_kills(make_plan, tmp_path):
    (tmp_path / "a").mkdir()
    straight, _ = make_study(make_plan, tmp_path / "a")
    while (trial := straight.take(60)) is not None:
        straight.finish(trial, objective(trial))
    n_kills = 0
    while True:  # each trial begun by a process that dies before its parameters are complete
        killed, _ = make_study(make_plan, tmp_path)
        killed.me["pid"] = a_dead_process()
        killed.prepared = lambda trial_id: None
        if killed.take(60) is None and killed.is_over():
            break
        [*_, half] = killed.trials()
        params = killed.choose(half)
        if n_kills % 2:
            killed.storage.set_trial_user_attr(half._trial_id, "params", params)
            key, value = next(iter(params.items()))
            kind = killed.search.space[key].distribution
            killed.storage.set_trial_param(half._trial_id, key, value, kind)
        n_kills += 1
        again, _ = make_study(make_plan, tmp_path)
        trial = again.take(60)
        assert trial.number == half.number
        again.finish(trial, objective(trial))
    assert n_kills == 6
    assert [one.params for one in killed.trials()] == [one.params for one in straight.trials()]
    assert [one.value for one in killed.trials()] == [one.value for one in straight.trials()]


def a_dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_several_share_the_trials_and_none_is_taken_twice(make_plan, tmp_path):
    studies = [make_study(make_plan, tmp_path, n_trials=20)[0] for _ in range(4)]

    def work(study):
        taken = []
        while (trial := study.take(60)) is not None:
            taken.append(trial.number)
            study.finish(trial, objective(trial))
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [number for one in pool.map(work, studies) for number in one]
    assert sorted(taken) == list(range(20)) and studies[0].is_over()


def test_the_trial_of_a_machine_without_a_sign_of_life_is_taken_over(make_plan, tmp_path):
    elsewhere, _ = make_study(make_plan, tmp_path, n_trials=1)
    elsewhere.me["host"] = "elsewhere"
    trial = elsewhere.take(60)
    here, _ = make_study(make_plan, tmp_path, n_trials=1)
    assert here.take(0) is None  # seen for the first time
    elsewhere.own(trial._trial_id)
    assert here.take(0) is None  # there was a sign of life
    assert here.take(60) is None
    taken = here.take(0)
    assert taken.number == trial.number and taken.params == trial.params
    assert here.is_mine(trial._trial_id) and not elsewhere.is_mine(trial._trial_id)


def test_a_trial_that_has_failed_waits_for_retry(make_plan, tmp_path):
    study, plan = make_study(make_plan, tmp_path, n_trials=2)
    study.leave(study.take(60), "the loss is not finite")
    trial = study.take(60)
    result = {"run": "b", "seed": 0, "fold": None, "value": 0.5, "epoch": 1, "epochs": 1}
    study.storage.set_trial_user_attr(trial._trial_id, "run b", result)
    study.finish(trial, 0.5)
    assert study.take(60) is None and study.is_over()
    assert "failed: the loss is not finite" in as_text(Results(plan, study).table())
    study.retry()
    assert not study.is_over() and study.take(60).number == 0


def test_a_space_that_has_changed_is_refused(make_plan, tmp_path):
    _, plan = make_study(make_plan, tmp_path)
    plan.search.space["optimizer.args.lr"].high = 0.2
    study = Study(open_storage(str(tmp_path / "journal.log")), "a/b", "min", plan.search, 0)
    with pytest.raises(UserError) as caught:
        study.begin(plan.setup, "b")
    assert "search.space.optimizer.args.lr.high = 0.1, which is now 0.2" in str(caught.value)


def test_a_half_written_line_is_cut_off(make_plan, tmp_path):
    study, _ = make_study(make_plan, tmp_path)
    trial = study.take(60)
    with (tmp_path / "journal.log").open("a") as file:
        file.write('{"op_code":8,"worker')
    study, _ = make_study(make_plan, tmp_path)
    study.finish(study.storage.get_trial(trial._trial_id), 1.0)
    study, _ = make_study(make_plan, tmp_path)
    assert study.trials()[0].state == TrialState.COMPLETE


def test_the_lock_of_a_process_that_died_is_not_waited_for(make_plan, tmp_path):
    os.symlink(f"{platform.node()}:{a_dead_process()}", tmp_path / "journal.log.lock")
    study, _ = make_study(make_plan, tmp_path)
    assert study.take(60) is not None


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("postgresql://ann:secret@127.0.0.1:1/x", "--storage postgresql://ann@127.0.0.1:1/x: "),
        ("nosuch://x", "--storage nosuch://x: cannot be reached: "),
        ("{folder}/file/journal.log", "cannot be reached: "),
    ],
)
def test_a_storage_that_cannot_be_reached_is_a_line(tmp_path, where, message):
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        open_storage(where.format(folder=tmp_path))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_run_of_another_config_is_not_taken_for_its_own(tmp_path):
    mark_start(tmp_path)
    config = {"trainer": {"epochs": 3, "monitor": "min val_loss"}, "device": "cpu"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert run_of(tmp_path, config | {"device": "cuda"}).path == tmp_path
    with pytest.raises(TrialFailed, match="trainer.epochs = 3, not 4: delete it, or give --name"):
        run_of(tmp_path, config | {"trainer": config["trainer"] | {"epochs": 4}})


def test_a_run_has_found_in_its_data_what_its_config_left_open(make_config):
    pytest.importorskip("torchmetrics")
    changes = {
        "arch.args.num_classes": "${data.num_classes}",
        "lr_scheduler.args.T_max": "auto",
        "metrics": ["f1", {"type": "recall", "args": {"average": "none"}}],
    }
    planned = make_config(changes).config
    trainer = build_trainer(make_config(changes))
    trainer.train()
    assert run_of(trainer.checkpoint_dir, planned).path == trainer.checkpoint_dir
    for change in ({"metrics": ["f1"]}, {"metrics": ["f1", "recall"]}, {"arch.args.dropout": 0.5}):
        with pytest.raises(TrialFailed, match="delete it, or give --name"):
            run_of(trainer.checkpoint_dir, make_config(changes | change).config)


def group(key, values, folds=False):
    return Group(key, {(0, n) if folds else (n, None): value for n, value in enumerate(values)})


@pytest.mark.parametrize(("df", "t"), [(1, 12.7062), (2, 4.30265), (4, 2.77645), (9, 2.26216)])
def test_the_t_distribution_is_that_of_tables(df, t):
    assert two_sided(t, df) == two_sided(-t, df) == pytest.approx(0.05, abs=1e-6)
    assert two_sided(0.0, df) == pytest.approx(1)


def test_pairs_of_seeds_are_tested_as_pairs_and_folds_with_the_correction():
    a, b = [0.5, 0.6, 0.7, 0.8, 0.9], [0.55, 0.68, 0.74, 0.86, 0.97]
    t = 0.06 / (0.0158113883 / sqrt(5))
    assert paired_p(group(1, a), group(2, b)) == pytest.approx(two_sided(t, 4), rel=1e-4)
    t = 0.06 / (0.0158113883 * sqrt(1 / 5 + 1 / 4))
    expected = pytest.approx(two_sided(t, 4), rel=1e-4)
    assert paired_p(group(1, a, folds=True), group(2, b, folds=True)) == expected
    third = group(3, [x + 1 for x in b])
    assert p_values([group(1, a), group(2, b), third])[0] == pytest.approx(
        3 * paired_p(group(1, a), group(2, b))
    )


def test_where_no_test_is_right_there_is_none():
    assert paired_p(group(1, [1, 2, 3, 4]), group(2, [2, 3, 4, 6])) is None  # few
    assert paired_p(group(1, [1, 2, 3, 4, 5]), group(2, [1, 2, 3, 4, 5, 6])) is None  # no pairs
    assert paired_p(group(1, [1, 2, 3, 4, 5]), group(2, [2, 3, 4, 5, 6])) is None  # no deviation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to sweep: give --seeds, --folds or --search"),
        (["--seeds", "0"], "--seeds 0: must be 1 or more"),
        (["--folds", "1"], "--folds 1: must be 2 or more"),
        (["--seeds", "3", "--name", "a/b"], "--name 'a/b': must be a name for a folder"),
        (["--seeds", "3", "-r", "auto"], "-r: a sweep goes on by the same command"),
        (["--seeds", "3", "trainer.monitor=off"], "trainer.monitor = 'off'"),
        (["--seeds", "3", "trainer.epoch=1"], "epoch: unknown key"),
        (["--search", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--seeds", "x"], "argument --seeds: invalid int value"),
    ],
)
def test_a_mistake_on_the_command_line_is_a_line(
    example_parts, capsys, arguments, message, tmp_path
):
    save = f"trainer.save_dir={tmp_path / 'saved'}"
    with pytest.raises(SystemExit) as caught:
        main(["-c", str(digits_example.CONFIG), save, *arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2 and message in error and error.count("\n") == 1
    assert not (tmp_path / "saved").exists()


def test_without_optuna_a_line_says_so(example_parts, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemExit):
        main(["-c", str(digits_example.CONFIG), "--seeds", "2"])
    assert capsys.readouterr().err == "sweep.py takes Optuna: pip install optuna\n"


def test_the_setup_is_plain(make_plan):
    plan = make_plan({"space": SPACE})
    assert plan.setup["search"] == json.loads(json.dumps(asdict(plan.search)))


@pytest.mark.parametrize(
    ("jobs", "processes", "visible", "expected"),
    [
        (2, 2, "3,5,6,7", ["3,5", "6,7"]),
        (4, 1, "GPU-a,GPU-b,GPU-c,GPU-d", ["GPU-a", "GPU-b", "GPU-c", "GPU-d"]),
        (3, 1, None, ["0", "1", "2"]),
    ],
)
def test_each_trial_has_gpus_of_its_own(monkeypatch, jobs, processes, visible, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = environments(jobs, processes, "auto")
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == expected


def test_more_trials_at_a_time_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(UserError, match="--jobs 3: 4 GPUs are too few .* 2 processes each"):
        environments(3, 2, "cuda")
