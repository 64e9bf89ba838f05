"""Old projects of many kinds move in: they train, resume and are tested, with the edits shown."""

import ast
import csv
import hashlib
import json
import re
import shutil
import textwrap
from types import SimpleNamespace

import pytest
import yaml

import migrate
from helpers import PROJECT, ROOT, TORCHRUN, files, python, succeed
from migrate_cases import CHANGES, ENDS, IMPORTS, READ, SCRIPT
from migrating import config as old_config
from migrating.carry import Carried, carry
from migrating.imports import Imports
from migrating.known import fingerprint
from migrating.names import Names, plain_config
from migrating.project import check
from migrating.project import migrate as move
from migrating.report import Report
from migrating.rules import RULES
from migrating.scripts import hand_over
from migrating.source import Source
from migrating.testing import why_unusable
from migrating.tree import OldClass, read, trainer_class
from migrating.uses import Uses

OLD = ROOT / "tests" / "old_projects"
SCRIPTS = {"train.py", "test.py"}
# The year of each, and the files that migrate.py edits or adds beside the two scripts
PROJECTS = {
    "signals_cnn": (2020, {"config.json", "data_loader/data_loaders.py", "model/model.py"}),
    "seq2seq": (
        2020,
        {"model/model.py", "trainer/trainer.py", "settings.py", "utils/from_old.py"},
    ),
    "segmentation": (
        2019,
        {"config.json", "trainer/trainer.py", "trainer/segmentation_trainer.py"}
        | {"logger/from_old.py"},
    ),
    "long_tailed": (
        2020,
        {"data_loader/data_loaders.py", "model/loss.py", "trainer/trainer.py"}
        | {"settings.py", "utils/from_old.py", "test_old.py"},
    ),
    "recurrent_depth": (
        2020,
        {"data_loader/data_loaders.py", "models/model.py", "settings.py"},
    ),
    "several_models": (2020, {"settings.py", "trainer/domain_trainer.py"}),
    "kfold": (2020, {"train_cv.py"}),
    "weather": (  # it has changed every file of the base
        2020,
        {"config.json", "data_loader/data_loaders.py", "trainer/trainer.py", "settings.py"}
        | {"base/from_old.py", "logger/from_old.py", "utils/from_old.py", "old_parse_config.py"},
    ),
    "gan_2018": (
        2018,
        {"config.json", "data_loader/data_loaders.py", "trainer/trainer.py"}
        | {"utils/from_old.py"},
    ),
}

# Makes a checkpoint after epoch 4 as the project itself would have, by the old base's own code
SAVE = """
import argparse, importlib, json, os, sys, types
import torch
sys.modules["pandas"] = types.ModuleType("pandas")  # what is done here does not need it
from pathlib import Path
import model.model as arch
import trainer
del sys.modules["pandas"]
year, config = int(sys.argv.pop(1)), json.load(open("config.json"))
torch.manual_seed(1)
model = getattr(arch, config["arch"]["type"])(**config["arch"]["args"])
make = getattr(torch.optim, config["optimizer"]["type"])
parts = [model.generator, model.discriminator] if year == 2018 else [model, model]
optimizers = [make(part.parameters(), **config["optimizer"]["args"]) for part in parts]
for parameter in model.parameters():
    parameter.grad = torch.ones_like(parameter)
optimizers[0].step()
[cls] = [one for name, one in vars(trainer).items() if name in ("Trainer", "SegmentationTrainer")]
old = cls.__new__(cls)
folder = Path("saved/models/old/1225_120000")
folder.mkdir(parents=True)
if year == 2018:
    from utils import Logger
    old.train_logger = Logger()
    old.train_logger.add_entry({"epoch": 1})
else:
    from parse_config import ConfigParser
    if year == 2019:
        parser = argparse.ArgumentParser()
        for flag in ("config", "resume", "device"):
            parser.add_argument("--" + flag)
        sys.argv += ["--config", "config.json"]
        config = ConfigParser(parser)
    else:
        config = ConfigParser(config, run_id="0101_000000")
import logging
old.model, old.optimizer, old.optimizer_d, old.config = model, *optimizers, config
old.mnt_best, old.checkpoint_dir, old.logger = 0.5, folder, logging.getLogger("old")
old._save_checkpoint(4)
"""


def old_project(name, folder):
    """The whole tree of an old project: the base of its year and the user's side."""
    target = folder / f"old_{name}"
    shutil.copytree(OLD / "bases" / str(PROJECTS[name][0]), target)
    shutil.copytree(OLD / name, target, dirs_exist_ok=True)
    for more in list(target.rglob("*.more")):
        with more.with_suffix("").open("a", encoding="utf-8") as file:
            file.write(more.read_text(encoding="utf-8"))
        more.unlink()
    return target


def digest(folder):
    return {name: hashlib.sha256((folder / name).read_bytes()).digest() for name in files(folder)}


def last_row(run):
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))[-1]


def set_epochs(project, epochs):
    path = project / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["trainer"]["epochs"] = epochs
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", PROJECTS)
def test_an_old_project_trains_resumes_and_is_tested(name, tmp_path):
    old, new = old_project(name, tmp_path), tmp_path / "new"
    before = digest(old)
    report = move(read(old), new)
    assert digest(old) == before
    assert set(report.changes) == PROJECTS[name][1] | SCRIPTS
    assert files(tmp_path / "new") >= {"MIGRATED.md", "tools/old_script.py", *report.unchanged}
    tops = {path.name for path in new.iterdir()}
    taken = [report.renamed.get(name, name) for name in report.old.user_files]
    assert tops == {name.split("/")[0] for name in [*taken, *report.changes]} | set(
        "base logger utils tools parse_config.py runs.py settings.py pyproject.toml docs "
        "requirements.txt "
        ".editorconfig .gitignore .pre-commit-config.yaml MIGRATED.md".split()
    )
    for kept in set(report.unchanged) - {"README.md"}:
        assert (new / kept).read_bytes() == (old / kept).read_bytes()
    output, is_well = check(new, report)
    assert is_well and "All is well." in output, output

    succeed("train.py", "-c", "config.json", cwd=new)
    [run] = new.glob("saved/*/*")
    assert last_row(run)["epoch"] == "2"
    set_epochs(new, 3)
    first = run / "checkpoint-epoch2.pth"
    succeed("train.py", "-r", str(first), "-c", "config.json", cwd=new)
    row = last_row(run)
    assert row["epoch"] == "3" and "nan" not in row.values()
    best = first if name == "weather" else run / "model_best.pth"  # which monitors nothing
    tested = succeed("test.py", "-r", str(best), cwd=new)
    if name in ("recurrent_depth", "long_tailed"):  # which had none that could run
        assert re.search(r"epoch \d, what \w+ gives with training=False$", tested, re.MULTILINE)
        assert re.search(r"^loss +\d+\.\d{4}$", tested, re.MULTILINE)
    else:
        assert "{'" in tested
    before = [note for note in report.notes if note.startswith("test_old.py:")]
    assert len(before) == (name == "long_tailed")
    if name == "weather":  # its own split and its own step of the scheduler, before the checkpoint
        assert "'chronological': True" in tested and f"'rate': {0.1 * 0.1**2}" in tested
        assert row["by_season_samples"] == "48" and row["zero"] == "0.0"
    if name == "signals_cnn":  # a loop of the user's own, with a seed: a resumed run is exact
        loss, again = tested.partition("'loss': ")[2].split(",")[0], ["-m", "tools.old_test"]
        said = succeed(*again, "train.py", "-r", str(best), cwd=new)
        assert float(re.search(r"^loss +(\S+)$", said, re.MULTILINE)[1]) == pytest.approx(
            float(loss), abs=1e-3
        )
        succeed("-W", "error", "train.py", "-c", "config.json", cwd=new)
        [straight] = set(new.glob("saved/*/*")) - {run}
        assert last_row(straight) == row
        before = set(new.glob("saved/*/*"))
        succeed(*TORCHRUN, "train.py", "-c", "config.json", cwd=new)
        [of_two] = set(new.glob("saved/*/*")) - before
        assert last_row(of_two)["epoch"] == "3"
    if name == "kfold":
        succeed("train_cv.py", "-c", "config.json", cwd=new)
        folds = json.loads((run.parent / "summary/folds.json").read_text())["best"]
        assert len(set(folds)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["signals_cnn", "segmentation", "gan_2018"])
def test_old_checkpoints_of_each_era_are_converted(name, tmp_path):
    old, new = old_project(name, tmp_path), tmp_path / "new"
    succeed("-c", SAVE, str(PROJECTS[name][0]), cwd=old)
    [path] = old.rglob("checkpoint-epoch4.pth")
    (path.parent / "broken.pth").write_bytes(b"no checkpoint")
    (old / "weights.pt").write_bytes(b"of other code")
    if name == "segmentation":  # a package beside train.py, which `import train` means
        (old / "train").mkdir()
        (old / "train/__init__.py").write_text("", encoding="utf-8")
    before = digest(old)
    report = move(read(old), new)
    assert digest(old) == before

    assert "validation_split draws other samples" in "".join(report.notes)
    broken, said, other = report.checkpoints
    assert other["refused"].endswith("copied as it is") and (new / "weights.pt").exists()
    assert "not a checkpoint" in broken["refused"]
    assert said["outputs"] == "equal on the first training batch" and said["weights"] > 5
    if name == "signals_cnn":  # as it lay elsewhere
        away = shutil.copy(path, tmp_path / "away.pth")
        done = python("train.py", "-r", away, cwd=new)
        command = re.search(r"python (-m tools\.convert \S+)", done.stderr)[1]
        assert "python train.py -r " in succeed(*command.split(), cwd=new)
        assert (tmp_path / "away_converted.pth").exists()
    converted = new / path.relative_to(old)
    load = "import sys, torch; s = torch.load(sys.argv[1], weights_only=True); print(s['epoch'])"
    assert succeed("-c", load, converted, cwd=new) == "4\n"
    assert "{'" in succeed("test.py", "-r", converted, cwd=new)
    set_epochs(new, 5)
    succeed("train.py", "-r", converted, "-c", "config.json", cwd=new)
    [table] = new.rglob("metrics.csv")  # of a new run: the old folder is left as it is
    assert table.parent != converted.parent and last_row(table.parent)["epoch"] == "5"


def test_what_is_different_in_the_weights_is_found(tmp_path):
    """The proof has teeth: it compares, and does not only say so."""
    code = """
import sys
sys.path.append(sys.argv[1])
import numpy as np
import torch
from migrating.convert_checkpoints import convert
from utils import checkpoint
from utils.errors import UserError
state = {"state_dict": {"w": torch.ones(2)}}
torch.save(state | {"monitor_best": np.float64(0.5)}, "best.pth")
print(convert("best.pth", "new.pth")["weights"], type(torch.load("new.pth")["monitor_best"]))
torch.save(state, "a.pth")
save = checkpoint.save
checkpoint.save = lambda state, path: save({"state_dict": {"w": torch.zeros(2)}}, path)
try:
    convert("a.pth", "b.pth")
except UserError as error:
    print(error)
"""
    code = f"import sys; sys.path.append({str(PROJECT)!r})" + code
    said = succeed("-c", code, ROOT, cwd=tmp_path)
    first, second = said.splitlines()
    assert first == "1 <class 'float'>"
    assert second == "a.pth: not the same after conversion: state_dict.w: largest difference 1.0"
    assert not (tmp_path / "b.pth").exists()


def test_check_stops_at_a_train_of_ones_own_too(tmp_path):
    code = """
import sys
sys.path[:0] = sys.argv[1:]
from base import BaseTrainer
from migrating.old_script import UserError, first_trainer
class Own(BaseTrainer):
    __init__ = object.__init__
    _train_epoch = None
    def train(self): print("trains")
class Config:
    resume = None
print(type(first_trainer(lambda config: Own().train(), Config)).__name__)
Own().train()
class OwnBase:
    def _train_epoch(self): pass
    train = Own.train
for main in lambda config: None, lambda config: type("GAN", (OwnBase,), {})().train():
    try:
        first_trainer(main, Config)
    except UserError as error:
        print(error)
"""
    said = succeed("-c", code, PROJECT, ROOT, cwd=tmp_path)
    words = "GAN: is not built on BaseTrainer, so it cannot be tried"
    assert said == f"Own\ntrains\n--check: main() trains nothing\n{words}\n"


def test_loaders_of_a_trainer_may_have_other_names():
    code = """
import sys
from types import SimpleNamespace
sys.path[:0] = sys.argv[1:]
import migrating.old_script
sys.modules["tools.old_script"] = migrating.old_script
from migrating.old_test import UserError, data_of
config = SimpleNamespace(given={}, discard_run=lambda: print("no run"))
trainer = SimpleNamespace(config=config, train_loader=[1], val_loader=[2])
print(data_of(trainer))
migrating.old_script.first_trainer = lambda main: trainer
try:
    migrating.old_script.check(None)
except UserError as error:
    print(error)
"""
    said = succeed("-c", code, PROJECT, ROOT, cwd=ROOT).splitlines()
    line = "data_loader and valid_data_loader: --check takes a few batches of these"
    assert said == [
        "([2], 'validation part (val_loader)')",
        "no run",
        f"SimpleNamespace: its loaders are to be called {line}",
    ]


def test_of_several_trainers_one_alone_goes_on_from_a_checkpoint():
    code = """
import sys
from types import SimpleNamespace
sys.path[:0] = sys.argv[1:]
from migrating.old_script import OneGoesOn, UserError
def trainer(resume, outcome=""):
    return SimpleNamespace(config=SimpleNamespace(resume=resume), outcome=outcome)
callback = OneGoesOn()
for one in trainer(None), trainer(None), trainer("a"), trainer("a", "finished"):
    callback.on_setup(one)
try:
    OneGoesOn().on_setup(trainer("a"))  # of another ConfigParser
except UserError as error:
    print(error)
"""
    said = succeed("-c", code, PROJECT, ROOT, cwd=ROOT)
    line = "-r a: is of one trainer, not of several: start the script without -r"
    assert said == f"command line: {line}\n"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("none", "new", "none: there is no such folder"),
        ("taken", "new", "has no class BaseTrainer with a train(), as projects in the layout of"),
        ("old", "taken", "taken: is there already"),
        ("old", "none/new", "none/new: cannot be made: No such file or directory"),
        ("old", "old/new", "new: lies in the old project, which is not to be changed"),
        ("old", "my project", "Project name 'my project' contains ' '"),
        ("above", "new", "above: the project lies below: give src in its place"),
        ("bad", "new", "bad/base/base_trainer.py: no class BaseTrainer with an __init__"),
        ("python2", "new", "python2/base/base_model.py:1: no Python of today: "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, old, new, expected
):
    monkeypatch.chdir(tmp_path)
    old_project("kfold", tmp_path).rename("old")
    (tmp_path / "taken").mkdir()
    (tmp_path / "bad" / "base").mkdir(parents=True)
    (tmp_path / "bad" / "base" / "base_trainer.py").write_text(
        "class BaseTrainer:\n    def train(self): 0\n"
    )
    shutil.copytree("old", "python2")
    shutil.copytree("old", "above/src")
    (tmp_path / "python2" / "base" / "base_model.py").write_text("print 'hello'\n")
    before = sorted(tmp_path.rglob("*"))
    assert migrate.main([old, new]) == 2
    said = capsys.readouterr()
    assert expected in said.err and len(said.err.splitlines()) == 1 and not said.out
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_half_made_is_left_behind(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("migrating.project.convert_checkpoints", stop)
    old = old_project("kfold", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        move(read(old), tmp_path / "new")
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.slow
def test_the_command_says_what_it_did(tmp_path):
    old = old_project("several_models", tmp_path)
    (old / "notes.py").write_text("print 'Python 2'\n")
    done = python(ROOT / "migrate.py", old, tmp_path / "new", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "It is of December 2020 or later",
        "## Carried over as they are",
        "base/base_trainer.py, ",
        "-    config = ConfigParser.from_args(args, options)",
        "+    run(main, args, options)",
        ". notes.py:1: no Python of today",
        "trainer/domain_trainer.py:58: writes checkpoints by itself",
        "All is well.",
    ):
        assert words in done.stdout
    page = (tmp_path / "new" / "MIGRATED.md").read_text(encoding="utf-8")
    for part in page.split("\n## Left to do"):
        assert part.strip() in done.stdout


EDITS = {
    "cuda in a trainer": (
        "class T(BaseTrainer):\n    def f(self, x):\n        return x.cuda(non_blocking=True)\n",
        "class T(BaseTrainer):\n    def f(self, x):\n        return x.to("
        "self.device, non_blocking=True)\n",
    ),
    "cuda in a model": (
        "class M(B):\n    a = nn.Linear(1, 1)\n"
        "    def forward(self, é):\n        'ünï'; return f('ö', é.cuda())\n",
        "class M(B):\n    a = nn.Linear(1, 1)\n    def forward(self, é):\n"
        "        'ünï'; return f('ö', é.to(next(self.parameters()).device))\n",
    ),
    "cuda in a loss without parameters": (
        "class L(B):\n    def forward(self, x, y):\n        return self.w.cuda() * x\n",
        "class L(B):\n    def forward(self, x, y):\n        return self.w.to(x.device) * x\n",
    ),
    "cuda beside a device": (
        "def f(x, device):\n    return x.cuda().float()\n",
        "def f(x, device):\n    return x.to(device).float()\n",
    ),
    "cuda anywhere": (
        "import torch\nm.cuda()\nn.cuda(device)\ntorch.cuda.empty_cache()\n",
        "import torch\nm.to('cuda' if torch.cuda.is_available() else 'cpu')\nn.to(device)\n"
        "torch.cuda.empty_cache()\n",
    ),
    "names of NumPy": (
        "import numpy as np\nx = np.zeros(2, np.float), np.Inf, np.float32, y.float\n",
        "import numpy as np\nx = np.zeros(2, float), np.inf, np.float32, y.float\n",
    ),
    "verbose": (
        "a = lr_scheduler.StepLR(o, verbose=True, gamma=1)\nb = ExponentialLR(verbose=False)\n"
        "c(verbose=1)\n",
        "a = lr_scheduler.StepLR(o, gamma=1)\nb = ExponentialLR()\nc(verbose=1)\n",
    ),
    "imp": (
        "import imp, os\nimp.reload(os)\n",
        "import os\nimport importlib\nimportlib.reload(os)\n",
    ),
    "torch.load": (
        "a = torch.load(f(x),)\na['epoch']\nb = torch.load(x, weights_only=False)\n"
        "m.load_state_dict(torch.load(x))\nc = torch.load(x)['model_state_dict']\n",
        "a = torch.load(f(x), weights_only=True)\na['epoch']\n"
        "b = torch.load(x, weights_only=False)\nm.load_state_dict(torch.load(x, weights_only=True))"
        "\nc = torch.load(x, weights_only=True)['model_state_dict']\n",
    ),
    "torch.load of a cache": (
        "torch.save(samples, self.cache)\nself.samples = torch.load(self.cache)\n",
        "torch.save(samples, self.cache)\n"
        "self.samples = torch.load(self.cache, weights_only=False)\n",
    ),
    "a tracker on pandas": (
        "class T:\n    def f(self, key, c):\n        self._data = pd.DataFrame()\n"
        "        self._data.total[key] += self._data.total[key]\n"
        "        self._data['n'][key] = 1\n        self._data[c].values[:] = 0\n",
        "class T:\n    def f(self, key, c):\n        self._data = pd.DataFrame()\n"
        "        self._data.loc[key, 'total'] += self._data.total[key]\n"
        "        self._data.loc[key, 'n'] = 1\n        self._data.loc[:, c] = 0\n",
    ),
    "the dict of the config": ("a = self.config._config['x']\n", "a = self.config.config['x']\n"),
    "a config as a dict": (
        "class T(BaseTrainer):\n    def f(self, config):\n        self.config['x'] = config['y']\n"
        "        config['trainer']['z'] = json.dumps(self.config)\n",
        "class T(BaseTrainer):\n    def f(self, config):\n"
        "        self.config.config['x'] = config['y']\n"
        "        config['trainer']['z'] = json.dumps(self.config.given)\n",
    ),
    "the word cuda": (
        "import torch\nclass T(BaseTrainer):\n    def f(self, x):\n"
        "        return x.to('cuda'), torch.zeros(1, device='cuda:0')\nd = torch.device('cuda')\n",
        "import torch\nclass T(BaseTrainer):\n    def f(self, x):\n"
        "        return x.to(self.device), torch.zeros(1, device=self.device)\n"
        "d = torch.device('cuda' if torch.cuda.is_available() else 'cpu')\n",
    ),
    "what has moved": (
        "from collections import OrderedDict, Iterable\n"
        "from torch._six import string_classes, inf\n"
        "from sklearn.externals import joblib\nfrom tensorboardX import SummaryWriter\n"
        "from numpy.lib.function_base import select\nimport time, yaml\n"
        "t = time.clock()\ny = yaml.load(f)\n",
        "from collections import OrderedDict\nfrom collections.abc import Iterable\n"
        "string_classes = (str, bytes)\nfrom math import inf\nimport joblib\n"
        "from torch.utils.tensorboard import SummaryWriter\nfrom numpy import select\n"
        "import time, yaml\nt = time.perf_counter()\ny = yaml.safe_load(f)\n",
    ),
    "a grid of Matplotlib": ("ax.grid(b=True, which='x')\n", "ax.grid(visible=True, which='x')\n"),
    "styles of Matplotlib": (
        "plt.style.use('seaborn')\nwith plt.style.context(['ggplot', 'seaborn-white']):\n"
        "    use('seaborn')\nplt.style.use('seaborn-v0_8')\n",
        "plt.style.use('seaborn-v0_8')\nwith plt.style.context(['ggplot', 'seaborn-v0_8-white']):\n"
        "    use('seaborn')\nplt.style.use('seaborn-v0_8')\n",
    ),
    "the base of 2018": (
        "class T(BaseTrainer):\n    def _resume_checkpoint(self, path):\n"
        "        self.monitor_best = checkpoint['monitor_best']\n"
        "        self.config = checkpoint['config']\n        self.save_freq = 2\n",
        "class T(BaseTrainer):\n    def _resume_checkpoint(self, path):\n"
        "        self.monitor_best = checkpoint['monitor_best']\n        self.save_freq = 2\n",
    ),
    "the base of 2018, with a condition": (
        "class T(BaseTrainer):\n    def _resume_checkpoint(self, path):\n        if c:\n"
        "            self.train_logger = c['logger']\n            self.config = c['config']\n"
        "        else:\n            self.config = c['config']\n",
        "class T(BaseTrainer):\n    def _resume_checkpoint(self, path):\n        if c:\n"
        "            pass\n        else:\n            pass\n",
    ),
    "lines that came twice": (
        "import logging\nlogging.basicConfig(level=1)\nif x:\n    logging.basicConfig()\n",
        "import logging\nif x:\n    pass\n",
    ),
    "parts of an epoch": (
        "class T(BaseTrainer):\n    def f(self):\n"
        "        self.every = len(self.data_loader) // 10\n"
        "        return 3 % self.every, 3 % (self.len_epoch // 5), self.len_epoch // 2\n"
        "        x = int(len(loader) * 0.1)\n        return 3 % x\n",
        "class T(BaseTrainer):\n    def f(self):\n"
        "        self.every = max(1, len(self.data_loader) // 10)\n"
        "        return 3 % self.every, 3 % (max(1, self.len_epoch // 5)), self.len_epoch // 2\n"
        "        x = int(max(1, len(loader) * 0.1))\n        return 3 % x\n",
    ),
    "lists of metrics": (
        "class T(BaseTrainer):\n    def _train_epoch(self, e):\n        log['val_metrics'] = v\n",
        "class T(BaseTrainer):\n    def _train_epoch(self, e):\n        log.update("
        "{'val_' + m.__name__: value for m, value in zip(self.metric_ftns, v)})\n",
    ),
    "a name that moved": (
        "from utils.util import inf_loop, mine as my\nfrom utils import util\n"
        "from base.base_model import BaseModel\nfrom utils import inf_loop\n",
        "from utils import inf_loop\nfrom utils.from_old import mine as my\n"
        "from utils import from_old as util\nfrom base.base_model import BaseModel\n"
        "from utils import inf_loop\n",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_edits(name):
    text, expected = EDITS[name]
    source = Source("x.py", text)
    old = trainer_class((OLD / "bases/2018/base/base_trainer.py").read_text())
    new = trainer_class((PROJECT / "base/base_trainer.py").read_text())
    for rule in (*RULES, Names(old, new, [])):
        rule(source)
    new = {"base.base_model": {"BaseModel"}, "utils.loops": {"inf_loop"}, "utils": {"inf_loop"}}
    Imports({"utils/util.py": ast.parse("")}, new, {"utils": {"mine"}})(source)
    assert source.edited == expected
    again = Source("x.py", source.edited)
    for rule in RULES:
        rule(again)
    assert again.edited == expected


def test_imports_within_a_part_of_the_base():
    """A file of the user's own that lay beside utils/util.py."""
    text = "from .util import mine, inf_loop\nimport utils.util as u\n"
    source = Source("utils/tracker.py", text)
    trees = {"utils/util.py": ast.parse(""), "utils/tracker.py": ast.parse("class Tracker: pass")}
    imports = Imports(trees, {"utils": {"inf_loop"}}, {"utils": {"mine"}})
    imports(source)
    assert source.edited == (
        "from utils.from_old import mine\nfrom utils import inf_loop\n"
        "from utils import from_old as u\n"
    )
    imports(user := Source("train.py", "from utils import Tracker, inf_loop\n"))
    assert user.edited == "from utils.tracker import Tracker\nfrom utils import inf_loop\n"


def test_what_is_not_understood_is_left_alone_and_named():
    text = "from utils import gone\na = torch.cuda.FloatTensor(1)\nself.train_metrics._data.total\n"
    text += "import imp\nimp.find_module('x')\nf'{np.float}'\n"
    text += "def f(config):\n    config['x'] = 1\nvocabulary = torch.load(path)\n"
    text += "x.type(torch.cuda.LongTensor)\n"
    source = Source("x.py", text)
    for rule in (*RULES, plain_config):
        rule(source)
    Imports({}, {}, {})(source)
    places = {note.split(": ")[0] for note in source.notes}
    assert places == {
        "x.py:1",
        "x.py:2",
        "x.py:3",
        "x.py:5",
        "x.py:6",
        "x.py:8",
        "x.py:9",
        "x.py:10",
    }
    assert "f'{np.float}'" in source.edited
    own = (
        "if __name__ == '__main__':\n    p = ArgumentParser()\n    p.add_argument('x')\n    go(p)\n"
    )
    assert hand_over(script := Source("cv.py", own)) and script.edited == own


def test_a_config_keeps_its_form_and_gets_the_names_of_today():
    text = (
        """{
    "n_gpu": 4, // """.replace(" // ", "")
        + """
    "lr_scheduler": {"type": "StepLR", "args": {"verbose": true, "step_size": 1}},
    "trainer": {"save_freq": 2, "monitor": "val_loss", "log_dir": "x", "tensorboardX": true}
}
"""
    )
    after, reasons = old_config.convert_text(text)
    assert json.loads(after)["trainer"] == {
        "save_period": 2,
        "monitor": "val_loss",
        "tensorboard": True,
    }
    assert len(reasons) == 5 and after.count("\n") == text.count("\n")
    assert old_config.convert({"trainer": {"monitor": "val_loss", "monitor_mode": "min"}})[0] == {
        "trainer": {"monitor": "min val_loss"}
    }
    assert old_config.convert_text('{"arch": {}}') == ('{"arch": {}}', [])
    both = '{"trainer": {"save_freq": 1, "save_period": 2, "monitor": "off"}}'
    assert old_config.convert_text(both) == (both, [])


def test_what_code_reads_of_a_config_stays_there():
    code = "x = config['trainer']['log_dir'], cfg.get('tensorboardX'), a[0], b.get(c)\n"
    read = old_config.read_in_code([ast.parse(code)])
    assert read == {"trainer", "log_dir", "tensorboardX"}
    text = '{"trainer": {"tensorboardX": true, "log_dir": "x", "monitor": "off"}}'
    after, [reason] = old_config.convert_text(text, read=read)
    assert after == text.replace("true,", 'true, "tensorboard": true,')
    assert reason.endswith("the old name is there too, as code reads it")


def test_a_config_without_monitor_had_none():
    after, [reason] = old_config.convert_text('{\n  "trainer": {\n    "epochs": 1\n  }\n}')
    assert after == '{\n  "trainer": {\n    "monitor": "off",\n    "epochs": 1\n  }\n}'
    after, reasons = old_config.convert_text("trainer:\n  early_stop: -1\n", "x.yaml")
    assert after == "trainer:\n  early_stop: 0\n  monitor: 'off'\n" and len(reasons) == 3


def test_a_config_has_a_name_where_it_had_one_by_another_key():
    text = '{\n  "experiment_name": "a\\\\b",\n  "trainer": {"monitor": "off"}\n}'
    after, [reason] = old_config.convert_text(text)
    assert (
        after == text.replace("{\n", '{\n  "name": "a\\\\b",\n', 1) and "experiment_name" in reason
    )
    text = "# mine\nexperiment_name: x\ntrainer:\n  monitor: 'off'\n"
    after, _ = old_config.convert_text(text, "x.yml")
    assert after == f'name: "x"\n{text}'
    text = '{"name": "a", "experiment_name": "b", "trainer": {"monitor": "off"}}'
    assert old_config.convert_text(text) == (text, [])


def test_keys_of_ones_own_are_declared_and_what_cannot_be_is_named(tmp_path):
    text = (PROJECT / "settings.py").read_text(encoding="utf-8")
    mistakes = [
        (["decoding"], ": unknown key; valid: ..."),
        (["trainer", "warmup"], ": unknown key; valid: ..."),
        (["arch"], ": is missing"),
        (["lr_scheduler", "type"], ": is missing"),
        (["my-key"], ": unknown key; valid: ..."),
        (["class"], ": unknown key; valid: ..."),
        (["trainer", "epochs"], " = 0: must be a whole number, 1 or more"),
        (["seed"], ' = "x": must be a whole number'),
    ]
    after, left = old_config.adapt_settings(text, mistakes)
    assert [".".join(path) for path, _ in left] == ["my-key", "class", "trainer.epochs", "seed"]
    (tmp_path / "settings.py").write_text(after, encoding="utf-8")
    code = f"import sys; sys.path.append({str(PROJECT)!r}); from settings import *; s = Settings\n"
    code += "print(s.decoding, s.arch, s.lr_scheduler, TrainerSettings.warmup)"
    assert succeed("-c", code, cwd=tmp_path) == "None None None None\n"


def test_keys_that_code_sets_are_found():
    code = (
        "config.config['a'] = self.config['b'] = 1\nconfig['c']['d'] = config[e] = other['f'] = 2\n"
        "config_params['g'] = 3\n"
    )
    assert old_config.set_in_code({"x.py": ast.parse(code)}) == {"a", "b", "g"}


def test_an_era_is_told_by_the_base():
    eras = {}
    for year in ("2018", "2019", "2020"):
        eras[year] = read(OLD / "bases" / year).era
    assert eras["2018"].startswith("2018") and eras["2019"].startswith("early 2019")
    assert eras["2020"].startswith("December 2020")


def test_files_that_stay_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr("migrating.tree.MAX_BYTES", 10_000)
    old = old_project("signals_cnn", tmp_path)
    (old / "settings.py").write_text("x = 1\n")
    (old / "latin.py").write_bytes(b"x = '\xe9'\n")
    for name in ("train.py", "utils/util.py", "model/model.py"):  # none of it is ever run
        text = (old / name).read_text(encoding="utf-8")
        (old / name).write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n{text}")
    (old / "requirements.txt").write_text("torch==1.2\npandas\nlibrosa>=0.7\n")
    (old / "demo.py").write_text("import os\nimport model.model, nowhere.at.all\n")
    report = move(read(old), tmp_path / "new")
    notes = "\n".join(report.notes)
    assert "large files stay where they are, copy or link them: data/train.npy" in notes
    assert "demo.py:2: imports nowhere, which is neither in the project nor installed" in notes
    assert "latin.py: is not UTF-8 text" in notes and not (tmp_path / "run").exists()
    assert report.renamed == {"settings.py": "old_settings.py"}
    assert "requirements.txt: add what is still used of librosa, pandas" in notes
    assert not (tmp_path / "new/data/train.npy").exists()


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_in_the_base_is_carried_over_or_named(name):
    file, changes, texts, kept, left = CHANGES[name]
    text = (OLD / "bases/2020" / file).read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    node = next(one for one in ast.parse(text).body if isinstance(one, ast.ClassDef))
    found = carry(node.name, OldClass("x.py", node), text)
    assert bool(found.text) == bool(texts) and all(one in found.text for one in texts)
    ast.parse(found.text)
    for lines, wanted in ((found.kept, kept), (found.left, left)):
        assert len(lines) == len(wanted), lines
        assert all(part in line for part, line in zip(wanted, lines, strict=True)), lines


def test_what_was_added_to_train_is_done_once_in_each_call():
    _, changes, *_ = CHANGES["a step of the scheduler"]
    text = (OLD / "bases/2020/base/base_trainer.py").read_text(encoding="utf-8")
    for before, after in changes:
        text = text.replace(before, after, 1)
    node = next(one for one in ast.parse(text).body if isinstance(one, ast.ClassDef))

    class NewBaseTrainer:
        def train(self):
            return self._train_epoch(1)

    names = {"NewBaseTrainer": NewBaseTrainer}
    exec(carry(node.name, OldClass("x.py", node), text).text, names)
    trainer, steps = names["BaseTrainer"](), []
    trainer._train_epoch = lambda epoch: {"loss": 1}
    trainer.scheduler = SimpleNamespace(step=steps.append)
    assert trainer.train() == trainer.train() == {"epoch": 1, "loss": 1}
    assert steps == [1, 1]


def test_imports_of_what_is_carried_over_are_looked_at_too(tmp_path, monkeypatch):
    (tmp_path / "not_here.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)  # which the checks have not
    old = old_project("kfold", tmp_path)
    text = "import not_here\n\n\ndef own():\n    global x\n    x = not_here\n"
    (old / "utils/util.py").write_text((old / "utils/util.py").read_text() + text)
    (old / "use.py").write_text("from utils.util import own\n\n\ndef f():\n    global y\n")
    report = move(read(old), tmp_path / "new")
    assert any(": imports not_here, which is neither" in line for line in report.notes)


def test_what_is_no_python_after_its_edits_is_named(tmp_path):
    (tmp_path / "from_old.py").write_text("if x:\ny = 1\n", encoding="utf-8")
    report = Report(SimpleNamespace(trees={}, user_files=[]))
    report.changed("from_old.py", "", "", [])
    report._look_at_imports(tmp_path)
    assert len(report.notes) == 1 and "from_old.py:2: no Python any more: " in report.notes[0]


def test_digests_are_the_same_in_every_version_of_python():
    tree = ast.parse(
        "def f(a: int = 1, *, b: str = 'x') -> None:\n    'doc'\n    return f'{a!r:>8}'\n"
    )
    assert fingerprint(tree.body[0]) == ["8df66080", "bf7e7fd3"]


@pytest.mark.parametrize("name", ENDS)
def test_the_end_of_a_script_is_written_anew_where_all_of_it_is_known(name):
    end, expected = ENDS[name]
    source = Source("train_med.py", SCRIPT.format("", end))
    reason = hand_over(source)
    if "run(" in expected:
        import_run = "from tools.old_script import run\n"
        assert not reason and source.edited == SCRIPT.format(import_run, expected)
    else:
        assert expected in reason and source.edited == source.text


def test_a_script_whose_functions_use_what_was_read_stays_as_it_is():
    source = Source("train.py", SCRIPT.format("def f(): return config", READ + "main(config)"))
    assert hand_over(source) == "f() uses what was read"


def test_options_of_an_old_script_with_more_to_them_are_read_as_overrides():
    code = """
import sys
from collections import namedtuple
sys.path[:0] = sys.argv[1:3]
from migrating.old_script import as_overrides
Option = namedtuple("Option", "flags type target nargs")
option = Option(["--sizes"], int, "arch;args;sizes", "+")
print(as_overrides(["-c", "x.json", "--sizes", "1", "2"], [option]))
"""
    said = succeed("-c", code, PROJECT, ROOT, cwd=ROOT)
    assert said == "['-c', 'x.json', 'arch.args.sizes=[1, 2]']\n"


def test_a_base_class_in_a_file_of_another_name_is_the_one_that_is_used(tmp_path):
    old = old_project("signals_cnn", tmp_path)
    (old / "base/base_data_loader.py").rename(old / "base/base_dataloader.py")
    text = (old / "base/base_dataloader.py").read_text(encoding="utf-8")
    assert "dataset, batch_size, shuffle," in text
    text = text.replace("dataset, batch_size, shuffle,", "dataset, shuffle, batch_size,", 1)
    text = f"from utils import read_json\n{text}"  # a name of today's, which it does not define
    (old / "base/base_dataloader.py").write_text(text, encoding="utf-8")
    init = (old / "base/__init__.py").read_text(encoding="utf-8")
    init = init.replace("base_data_loader", "base_dataloader")
    (old / "base/__init__.py").write_text(init, encoding="utf-8")
    (old / "use.py").write_text("import base\nbase.BaseDataLoader, base.BaseModel\n")
    move(read(old), tmp_path / "new")
    line = "from base.base_dataloader import BaseDataLoader\n"
    assert line in (tmp_path / "new/data_loader/data_loaders.py").read_text(encoding="utf-8")
    assert "base.base_dataloader.BaseDataLoader, base.BaseModel" in (
        tmp_path / "new/use.py"
    ).read_text(encoding="utf-8")
    carried = (tmp_path / "new/base/base_dataloader.py").read_text(encoding="utf-8")
    assert carried == text


@pytest.mark.parametrize("name", IMPORTS)
def test_imports(name):
    before, after = IMPORTS[name]
    old = {"utils/util.py": (OLD / "bases/2020/utils/util.py").read_text()}
    old |= {"utils/__init__.py": "from .util import *\nfrom .plots import title\n"}
    old |= {"utils/plots.py": "def title(): pass\n", "tools/y.py": "z = 1\n"}
    trees = {file: ast.parse(text) for file, text in old.items()}
    new = {"utils": {"inf_loop", "read_json", "MetricTracker"}, "parse_config": {"ConfigParser"}}
    new |= {"logger": set()}
    added = {"utils": {"MetricTracker"}, "parse_config": {"read_py"}}
    renamed = {"tools": "old_tools", "tools.y": "old_tools.y"}
    Imports(trees, new, added, renamed)(source := Source("train.py", before))
    assert source.edited == after and not source.notes


def test_what_old_code_asks_of_the_base_is_looked_up_where_no_dry_run_comes(tmp_path):
    old = old_project("signals_cnn", tmp_path)
    path = old / "trainer/trainer.py"
    text = path.read_text(encoding="utf-8")
    text = text.replace(
        "            if batch_idx == self.len_epoch:",
        """\
            if batch_idx % 50 == 49:
                print(self.writer.selected, self.config.levels, self._prepare_device(1))
                print(self.config._save_dir)
            if batch_idx == self.len_epoch:""",
    )
    text = text.replace(
        "    def _valid_epoch(self, epoch):",
        """\
    def _test(self):
        self.state = 1
        self.n_seen, self.n_now = 0, 0
        self.n_now += 1
        if self.noise is None:
            self.noise = torch.randn(3)
        self.best = max(self.best, self.n_seen)
        if not hasattr(self, 'lazy'):
            self.lazy = 1
        if length is None:
            self.length = 1

    def _valid_epoch(self, epoch):""",
    )
    path.write_text(
        text
        + """

class Other(BaseTrainer):
    def _train_epoch(self, epoch, fold):
        return 1, 2
""",
        encoding="utf-8",
    )
    for file, before, after in (
        (
            "logger/visualization.py",
            "        self.step = 0",
            "        self.selected = ''\n        self.step = 0",
        ),
        ("parse_config.py", "        self.log_levels", "        self.levels"),
    ):
        text = (old / file).read_text(encoding="utf-8")
        assert before in text
        (old / file).write_text(text.replace(before, after), encoding="utf-8")
    project = read(old)
    sources = [Source("trainer/trainer.py", project.text("trainer/trainer.py"))]
    classes = {name: Carried() for name in project.classes}
    for source in sources:
        Uses(project, classes, sources)(source)
    said = "\n".join(sources[0].notes)
    assert "the old TensorboardWriter had selected, today's has not" in said
    assert "the old ConfigParser had levels, today's has not" in said and "_save_dir" not in said
    assert "train() calls _train_epoch(epoch), with no other arguments" in said
    assert "_train_epoch returns no dict of values by name, as train() wants" in said
    assert "self.state_of_old = 1" in sources[0].edited
    kept = re.findall(r"self\.(\w+) is left by one epoch to the next, and no checkpoint", said)
    assert kept == ["best", "lazy", "noise"]


@pytest.mark.slow
def test_an_old_project_with_its_parts_elsewhere(tmp_path):
    """A base class in a file of the user's own, YAML, an entry script of another name."""
    old = old_project("signals_cnn", tmp_path)
    (old / "base/base_trainer.py").rename(old / "trainer/base_trainer.py")
    text = "from .base_data_loader import *\nfrom .base_model import *\n"
    (old / "base/__init__.py").write_text(text)
    trainer = old / "trainer/trainer.py"
    text = trainer.read_text().replace("from base import", "from trainer.base_trainer import")
    trainer.write_text(text)
    (old / "train.py").rename(old / "train_med.py")
    config = json.loads((old / "config.json").read_text())
    (old / "config.json").rename(old / "other.json")
    (old / "configs").mkdir()
    (old / "configs/a.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (old / "other.json").write_text('{"a": 1}')  # of a script in a folder: no config
    (old / "scripts").mkdir()
    script = SCRIPT.format(
        "import json", "config = json.load(open('other.json'))\n    main(config)"
    )
    (old / "scripts/plot.py").write_text(script)
    text = "CONFIG = {'trainer': {'tensorboardX': True, 'monitor': 'off'}, 'prior': 1}\n"
    (old / "config.py").write_text(text)
    report = move(read(old), tmp_path / "new")
    assert report.checks == [["train_med.py", "-c", "configs/a.yaml", "--check"]]
    assert (tmp_path / "new/scripts/plot.py").read_text() == script
    assert "config.py:1: a config in Python" in report.left_to_do()
    assert (tmp_path / "new/config.py").read_text() == text.replace("tensorboardX", "tensorboard")
    assert "    prior: Any = None\n" in (tmp_path / "new/settings.py").read_text()
    output, is_well = check(tmp_path / "new", report)
    assert is_well, output


MODULE = "import data_loader.data_loaders as data\n"
LOADER = "config['data_loader']['type']"
LOAD = "state = torch.load(config.resume)\n"
TESTS = {  # of signals_cnn, what is wrong with it and where
    "never called": ("def main(config):\n    pass\n", 1, "runs none of them"),
    "no Python": ("print 1\n", 1, "no Python of today"),
    "other module": ("import model.gone\nmain()\n", 1, "imports model.gone, which is not"),
    "other name": ("from data_loader.data_loaders import Gone\nmain()\n", 1, "Gone, which data_"),
    "other key": ("print(1)\nprint(config['arch']['kind'])\n", 2, "['kind'], which no config has"),
    "block": ("x = getattr(model, config['arch'])\nmain()\n", 1, "for a name, and it is a block"),
    "unknown": (
        f"{MODULE}getattr(data, {LOADER})('x', mode='test')\n",
        2,
        "mode, which it does not",
    ),
    "missing": (f"{MODULE}getattr(data, {LOADER})(batch_size=1)\n", 2, "does not give the loader"),
    "by init_obj": (
        f"{MODULE}config.init_obj('data_loader', data, split=1)\n",
        2,
        "loader split, ",
    ),
    "whole file": (f"{LOAD}model.load_state_dict(state, strict=False)\n", 2, "whole checkpoint"),
    "its weights": (f"{LOAD}model.load_state_dict(state['state_dict'])\n", 0, ""),
    "enough": (f"{MODULE}getattr(data, {LOADER})('x', batch_size=1, training=False)\n", 0, ""),
}


@pytest.mark.parametrize("name", TESTS)
def test_a_test_script_that_cannot_run_is_found(name, tmp_path):
    text, line, reason = TESTS[name]
    old = old_project("signals_cnn", tmp_path)
    (old / "test.py").write_text(text, encoding="utf-8")
    found = why_unusable(read(old))
    assert found[0] == line and reason in found[1] and bool(reason) == bool(found[1])


def test_a_trainer_with_a_base_of_its_own_keeps_its_names(tmp_path):
    old = old_project("gan_2018", tmp_path)
    base = (old / "base/base_trainer.py").read_text(encoding="utf-8")
    base = base.replace("class BaseTrainer", "class BaseGANTrainer")
    (old / "base/base_gan_trainer.py").write_text(base, encoding="utf-8")
    trainer = (old / "trainer/trainer.py").read_text(encoding="utf-8")
    trainer = trainer.replace("from base import BaseTrainer", "from base import BaseGANTrainer")
    trainer = trainer.replace("(BaseTrainer)", "(BaseGANTrainer)")
    (old / "trainer/trainer.py").write_text(trainer, encoding="utf-8")
    init = old / "base/__init__.py"
    init.write_text(f"{init.read_text()}from .base_gan_trainer import *\n", encoding="utf-8")
    report = move(read(old), tmp_path / "new")
    moved = (tmp_path / "new/trainer/trainer.py").read_text(encoding="utf-8")
    assert "from base.base_gan_trainer import BaseGANTrainer\n" in moved
    assert "'metrics': (total_metrics" in moved and "metric_ftns" not in moved
    assert "optimizer, resume, config, train_logger)" in moved
    base = (tmp_path / "new/base/base_gan_trainer.py").read_text(encoding="utf-8")
    assert "import TensorboardWriter as WriterTensorboardX\n" in base
    assert "json.dump(config.given, handle" in base
    config = json.loads((tmp_path / "new/config.json").read_text(encoding="utf-8"))["trainer"]
    assert config["tensorboardX"] == config["tensorboard"] and "log_dir" in config
    note = "base/base_gan_trainer.py:11: BaseGANTrainer is not built on BaseTrainer: today's does"
    assert any(one.startswith(note) for one in report.notes)
    assert not any("self.train_logger = checkpoint" in one for one in (moved, base))


def test_a_trainer_that_wrote_to_torchs_writer_sets_the_step():
    head = "class T(BaseTrainer):\n    def _valid_epoch(self, epoch):\n        "
    old = trainer_class((OLD / "bases/2018/base/base_trainer.py").read_text())
    names = Names(old, trainer_class((PROJECT / "base/base_trainer.py").read_text()), [])
    names.has_plain_writer = True
    for before, after in {
        "self.writer.add_scalar('x', y, n + 1)": "self.writer.set_step(n + 1, 'valid'); "
        "self.writer.add_scalar('x', y)",
        "self.writer.add_text('x', y, global_step=n)": "self.writer.set_step(n, 'valid'); "
        "self.writer.add_text('x', y)",
        "self.writer.add_scalar('x', y)": "self.writer.add_scalar('x', y)",
        "self.writer.add_graph(m)": "self.writer.add_graph(m)",
    }.items():
        names(source := Source("x.py", f"{head}{before}\n"))
        assert source.edited == f"{head}{after}\n"
    assert "today's writer has no add_graph" in source.notes[0]


def test_a_config_that_was_read_from_a_dict_is_named(tmp_path):
    old = old_project("kfold", tmp_path)
    text = (old / "parse_config.py").read_text(encoding="utf-8")
    head, _, rest = text.partition("        for opt in options:\n")
    tail = rest[rest.index("    def init_obj") :]
    body = "        return cls(read_json(args['file']), args['resume'])\n\n"
    (old / "parse_config.py").write_text(head + body + tail, encoding="utf-8")
    (old / "run.py").write_text("config = ConfigParser.from_args({'file': 'x', 'resume': None})\n")
    report = move(read(old), tmp_path / "new")
    line = "run.py:1: from_args reads a command line, by an argparse parser: ConfigParser({'file': "
    assert any(one.startswith(line) for one in report.notes)


@pytest.mark.parametrize(("name", "is_said"), [("weather", False), ("kfold", True)])
def test_another_validation_part_is_said_where_it_is_another(name, is_said, tmp_path, monkeypatch):
    monkeypatch.setattr("migrating.project.convert_checkpoints", lambda *_: [])
    old = old_project(name, tmp_path)
    (old / "weights.pth").write_bytes(b"")
    config = json.loads((old / "config.json").read_text(encoding="utf-8"))
    config["data_loader"]["args"]["validation_split"] = 0.1
    (old / "config.json").write_text(json.dumps(config), encoding="utf-8")
    notes = move(read(old), tmp_path / "new").notes
    assert any("draws other samples than the old base did" in one for one in notes) == is_said


def test_a_module_called_test_is_no_script(tmp_path):
    old = old_project("signals_cnn", tmp_path)
    (old / "test.py").write_text("def test(config):\n    pass\n", encoding="utf-8")
    script = "from test import test\nfrom train import main\n"
    script += "import config\n\nif __name__ == '__main__':\n    main(config)\n"
    (old / "main.py").write_text(script, encoding="utf-8")
    assert why_unusable(read(old)) == (0, "")
    report = move(read(old), tmp_path / "new")
    assert "test.py" in report.unchanged
    assert [command[2] for command in report.checks if "-m" in command] == ["main.py"]


def test_of_a_file_and_a_folder_of_a_name_imports_mean_the_folder(tmp_path):
    old = old_project("kfold", tmp_path)
    (old / "utils.py").write_text("def never_imported():\n    pass\n", encoding="utf-8")
    report = move(read(old), tmp_path / "new")
    assert report.renamed == {"utils.py": "old_utils.py"}
    assert not any("old_utils" in diff for _, diff in report.changes.values())


def test_what_is_left_to_do_is_in_order():
    report = Report(SimpleNamespace(user_files=[]))
    report.notes = ["b.py:10: x", "requirements.txt: y", "b.py:9: z", "a.py:11: w", "b.py:9: z"]
    report.checks = [["train.py", "-c", "a.json", "--check"]]
    report.tests = ["python test.py -r X", "python -m tools.old_test train.py -r X"]
    lines = [line for line in report.left_to_do().splitlines() if line]
    assert lines[1:5] == [
        "1. requirements.txt: y",
        "2. a.py:11: w",
        "3. b.py:9: z",
        "4. b.py:10: x",
    ]
    assert "python train.py -c a.json --check" in lines
    assert lines[-2].endswith("`python test.py -r X`, or where that fails")


@pytest.mark.slow
@pytest.mark.parametrize("start", ["plain script", "Lightning"])
def test_the_steps_from_elsewhere_lead_to_a_project_that_learns(start, bake):
    """Each file that docs/migrating.md shows, put where its first line says."""
    project = bake(size="full")
    page = (project / "docs/migrating.md").read_text(encoding="utf-8")
    section = page.split(f"## From {'a ' * (start != 'Lightning')}{start}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^   ```(py|json)\n(.*?)^   ```$", section, re.DOTALL | re.MULTILINE)
    for kind, block in blocks:
        text = textwrap.dedent(block)
        name = text.split("\n")[0].removeprefix("# ") if kind == "py" else "config.json"
        (project / name).write_text(text, encoding="utf-8")
    assert len(blocks) == (3 if start == "plain script" else 5)

    assert "All is well." in succeed("-W", "error", "train.py", "--check", cwd=project)
    succeed("-W", "error", "train.py", cwd=project)
    [run] = project.glob("saved/*/*")
    row = last_row(run)
    assert float(row["val_loss"]) < (0.15 if start == "plain script" else 0.3)
    assert "200 test samples" in succeed("test.py", "-r", run / "model_best.pth", cwd=project)


def test_migrate_needs_no_torch_by_itself(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import migrate"
    succeed("-c", code, cwd=tmp_path)
