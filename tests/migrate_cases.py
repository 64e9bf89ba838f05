"""Pieces of old code, and what migrate.py makes of each."""

from typing import NamedTuple


class Change(NamedTuple):
    """What is changed in a file of the old base; parts of what is carried over, kept and left."""

    file: str
    changes: list[tuple[str, str]]
    texts: list[str] = []
    kept: list[str] = []
    left: list[str] = []


TRAINER, LOADER = "base/base_trainer.py", "base/base_data_loader.py"
START, LOOP = "        self.start_epoch = 1\n", "            log.update(result)\n"
SAVE = "                self._save_checkpoint(epoch)\n"
WARMUP = "        trainer = config['trainer']\n        self.warmup = trainer['warmup']\n"
INIT = "optimizer, config):\n"
OWN_FILES = """\
        self.config['seen'] = True
        with open(folder, 'w') as file:
            json.dump(self.config, file)
        self.writer = SummaryWriter(folder)
"""
STEP = "            self.scheduler.step(log['loss'])\n"
VALIDATION = """\
            if self.do_validation:
                result = self._valid_epoch(epoch)
"""
OWN_LOG = """\
            n += 1
            log = {'n': n}
"""
BEST = """\
            improved = log['val_loss'] < self.mnt_best
            if improved:
                self.mnt_best = log['val_loss']
                self.best = [epoch]
            else:
                break
"""
OF_CONFIG = "    @property\n    def config"
PROPERTY = "    @property\n    def x(self):\n        return 1\n"
ADDERS = "        self.tb_writer_ftns = {'add_scalar', 'add_mesh'}\n"
CHANGES = {
    "nothing": Change(TRAINER, []),
    "a message": Change(
        TRAINER,
        [(LOOP, LOOP + "            self.logger.info(log)\n")],
        kept=["BaseTrainer.train: has other lines (39): other messages alone"],
    ),
    "a step of the scheduler": Change(
        TRAINER,
        [(LOOP, LOOP + STEP)],
        [STEP + "            return log\n"],
        ["BaseTrainer.train: its lines 39, around today's"],
    ),
    "a validation that gives what is monitored": Change(
        TRAINER,
        [(LOOP, VALIDATION + LOOP)],
        ["            result = train_epoch(epoch)\n" + VALIDATION + "            return result\n"],
        ["BaseTrainer.train: its lines 38, around today's"],
    ),
    "a log of its own": Change(
        TRAINER,
        [
            ("        for epoch", "        n = 0\n        for epoch"),
            ("            log = {'epoch': epoch}\n", OWN_LOG),
            (LOOP, LOOP + STEP),
        ],
        [
            "            nonlocal n\n            n += 1\n            log = {'n': n}\n"
            "            result = train_epoch(epoch)\n"
            '            log = {"epoch": epoch, **log, **result}\n' + STEP
        ],
        ["BaseTrainer.train: its lines 35, 37, 38, 41, around today's"],
    ),
    "what is done at the best epoch": Change(
        TRAINER,
        [(LOOP, LOOP + BEST)],
        ["        if is_best:\n            epoch = self.epoch\n            self.best = [epoch]\n"],
        ["BaseTrainer.train: its lines 42, where an epoch is the best"],
        ["x.py:40: BaseTrainer.train: not carried over: if improved:"],
    ),
    "a condition of saving": Change(
        TRAINER,
        [(SAVE, "                self._save_checkpoint(epoch, save_best=True)\n")],
        kept=["BaseTrainer.train: has other lines (40), leaves out 1 of the original's: what"],
    ),
    "a way out of the loop": Change(
        TRAINER,
        [(LOOP, LOOP + "            if log['loss'] < 0.1:\n                break\n")],
        left=["x.py:39: BaseTrainer.train: not carried over: if log['loss'] < 0.1:"],
    ),
    "attributes": Change(
        TRAINER,
        [(START, WARMUP + START)],
        ["config)\n" + WARMUP],
        ["BaseTrainer.__init__: its lines 24, 25, after today's"],
    ),
    "attributes beside those of 2018": Change(
        "../2018/base/base_trainer.py",
        [(START, "        self.fold = 0\n" + START)],
        ["        self.loss = loss\n        self.metrics = metrics\n", "        self.fold = 0\n"],
        ["BaseTrainer.__init__: its lines 17, 18, 20, 26, after today's"],
    ),
    "another parameter": Change(
        TRAINER,
        [(INIT, "optimizer, config, fold=0):\n"), (START, "        self.fold = fold\n")],
        ["optimizer, config, fold=0):\n        super().__init__(model, criterion, metric_ftns,"],
        ["BaseTrainer.__init__: its lines 24, after today's"],
    ),
    "where a run is kept": Change(
        TRAINER,
        [("checkpoint_dir = config.save_dir", "checkpoint_dir = 'x'")],
        left=["x.py:25: BaseTrainer.__init__: not carried over: self.checkpoint_dir = 'x'"],
    ),
    "what today's does with the config and the writer": Change(
        TRAINER,
        [(START, OWN_FILES + START)],
        ["config)\n        self.config['seen'] = True\n"],
        ["its lines 25 are left out: a run has its config", "its lines 24, after today's"],
        ["x.py:27: BaseTrainer.__init__: not carried over: self.writer = SummaryWriter(folder)"],
    ),
    "a hook with more arguments": Change(
        TRAINER,
        [("_save_checkpoint(self, epoch, save", "_save_checkpoint(self, epoch, loss, save")],
        left=["BaseTrainer._save_checkpoint takes other arguments: today's is used"],
    ),
    "a name that today's base has": Change(
        TRAINER,
        [("    def train(", "    def _save(self):\n        pass\n\n    def train(")],
        left=["BaseTrainer._save: not carried over: today's base has another of this name"],
    ),
    "the arguments of a loader": Change(
        LOADER,
        [("num_workers, ", "num_workers, pin=False, ")],
        ["class BaseDataLoader(DataLoader):\n", "pin=False"],
        ["BaseDataLoader.__init__: as it is, with its whole class"],
    ),
    "the split of a loader": Change(
        LOADER,
        [("        np.random.shuffle(order)\n", "")],
        ["class BaseDataLoader(NewBaseDataLoader):\n", "    def _split_sampler(self, split):\n"],
        ["BaseDataLoader._split_sampler: as it is"],
    ),
    "a property of the config": Change(
        "parse_config.py",
        [(OF_CONFIG, PROPERTY + "\n" + OF_CONFIG)],
        [PROPERTY],
        ["ConfigParser.x: as it is"],
    ),
    "what only the old config has": Change(
        "parse_config.py",
        [("        return logger\n", "        return logger, self.log_levels\n")],
        ["**more)\n        self.log_levels = {", "    def get_logger("],
        ["ConfigParser.get_logger: as it is", "ConfigParser.__init__: its lines 27"],
    ),
    "an attribute that comes with the name of a run": Change(
        "parse_config.py",
        [
            (
                "        setup_logging",
                "        if run_id:\n            run_id = self.x = 1\n        setup_logging",
            )
        ],
        ["        if run_id:\n            run_id = self.x = 1\n"],
        ["ConfigParser.__init__: its lines 26, after today's"],
    ),
    "a folder more for a run": Change(
        "parse_config.py",
        [("        setup_logging", "        (save_dir / run_id).mkdir()\n        setup_logging")],
        ["        run_id = self.run_id = run_id or time", "        save_dir = Path(", "mkdir()\n"],
        ["ConfigParser.__init__: its lines 20, 26, after today's"],
    ),
    "what else can be written": Change(
        "logger/visualization.py",
        [("        self.step = 0\n", ADDERS + "        self.step = 0\n")],
        ["    def add_mesh(self, tag, data, *args, **kwargs):\n"],
        ["TensorboardWriter.__init__: has other lines (9)"],
    ),
    "less than the original": Change(
        TRAINER,
        [("        self.start_epoch = 1\n", "")],
        kept=["BaseTrainer.__init__: leaves out 1 of the original's: today's does what is left"],
    ),
    "a local name of train()": Change(
        TRAINER,
        [(LOOP, LOOP + "            best = self.look(log)\n            self.keep(n_best)\n")],
        ["            best = self.look(log)\n"],
        ["BaseTrainer.train: its lines 39, around today's"],
        ["x.py:40: BaseTrainer.train: not carried over: self.keep(n_best)"],
    ),
    "a base that makes the optimizer": Change(
        TRAINER,
        [
            ("metric_ftns, optimizer, config", "metric_ftns, config"),
            ("self.optimizer = optimizer", "self.optimizer = Adam(model.parameters())"),
        ],
        ["None, config)\n        self.optimizer = Adam(model.parameters())\n"],
        ["BaseTrainer.__init__: its lines 14, after today's"],
    ),
    "a command line that is given": Change(
        "parse_config.py",
        [("from_args(cls, args, ", "from_args(cls, args, words, "), ("_args()", "_args(words)")],
        ["args, words, options='', **more):\n        return super().from_args(args, options or ()"],
        ["ConfigParser.from_args: its arguments, for today's"],
    ),
    "a tracker that counts more": Change(
        "utils/util.py",
        [
            (
                "    def avg(",
                "    def n(self, key):\n        return self._data.counts[key]\n\n    def avg(",
            )
        ],
        ["class MetricTracker:\n", "    def n(self, key):\n"],
        ["MetricTracker.n: as it is, with its whole class"],
    ),
}

SCRIPT = """import argparse
{}
if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    options = []
    {}
"""
READ = "config = ConfigParser.from_args(parser, options)\n    "
OF_2018 = """args = parser.parse_args()
    if args.config:
        config = json.load(open(args.config))
    elif args.resume:
        config = torch.load(args.resume)['config']
    if args.device:
        os.environ['CUDA_VISIBLE_DEVICES'] = args.device
    main(config, args.resume)"""
NOT_ONE_CALL = "its end is no single call of main"
ENDS = {  # the end of a script, and what it becomes or why it stays as it is
    "the original's": (READ + "main(config)", "run(main, parser, options)"),
    "of 2018": (OF_2018, "run(main, parser, with_resume=True)"),
    "of early 2018": (
        OF_2018.replace("    if args.config:", "    config = None\n    if args.config:").replace(
            "    main(", "    if args.resume:\n        print('again')\n    assert config\n    main("
        ),
        "run(main, parser, with_resume=True)",
    ),
    "early 2019": (
        "config = ConfigParser(parser, options)\n    main(config, config.resume)",
        "run(main, parser, options, with_resume=True)",
    ),
    "with more around it": (
        "x = make()\n    " + READ + "main(config)\n    clean(x)",
        "x = make()\n    run(main, parser, options)\n    clean(x)",
    ),
    "main of more": (READ + "main(config, fold)", NOT_ONE_CALL),
    "main of a word": (READ + "main(config=config)", NOT_ONE_CALL),
    "two calls": (READ + "main(config)\n    main(config)", NOT_ONE_CALL),
    "a value that is used": (READ + "x = main(config)", NOT_ONE_CALL),
    "what was read is used": (
        READ + "check(config)\n    main(config)",
        "line 7 uses what was read",
    ),
    "arguments are checked": (
        READ + "args = parser.parse_args()\n    assert args.x\n    main(config)",
        "line 8 uses what was read",
    ),
    "from_args of more": (
        "config = ConfigParser.from_args(parser, options, 1)\n    main(config)",
        "it reads no config",
    ),
    "a namespace": ("main(parser.parse_args())", NOT_ONE_CALL),
}

IMPORTS = {
    "names and a module": (
        "from utils import inf_loop, MetricTracker, util\n",
        "from utils import inf_loop, from_old as util\nfrom utils.from_old import MetricTracker\n",
    ),
    "a class with another name": (
        "from utils.visualization import WriterTensorboardX\n",
        "from logger.visualization import TensorboardWriter as WriterTensorboardX\n",
    ),
    "a star, of what is used": (
        "from utils.util import *\nx = MetricTracker(Path('.'), inf_loop, len)\n",
        "from utils.from_old import MetricTracker\nfrom pathlib import Path\n"
        "from utils import inf_loop\nx = MetricTracker(Path('.'), inf_loop, len)\n",
    ),
    "a star of a package": (
        "from utils import *\nread_json\n",
        "from utils import read_json\nread_json\n",
    ),
    "a star of nothing": ("from utils import *\nx = 1\n", "x = 1\n"),
    "what others imported there": (
        "from utils.util import OrderedDict\n",
        "from collections import OrderedDict\n",
    ),
    "the config's": (
        "from parse_config import ConfigParser, read_py\n",
        "from parse_config import ConfigParser\nfrom old_parse_config import read_py\n",
    ),
    "a module of the user's own": (
        "from utils.plots import title\n",
        "from utils.plots import title\n",
    ),
    "its name by way of the package": (
        "from utils import title\n",
        "from utils.plots import title\n",
    ),
    "a package with another name": (
        "from tools import x\nfrom tools.y import z\n",
        "from old_tools import x\nfrom old_tools.y import z\n",
    ),
    "a package alone": (
        "import utils\nutils.MetricTracker(utils.inf_loop, utils.title)\n",
        "import utils\nimport utils.from_old\nimport utils.plots\n"
        "utils.from_old.MetricTracker(utils.inf_loop, utils.plots.title)\n",
    ),
    "a module with another name": (
        "import logger\nimport tools.y\ntools.y.z()\n",
        "import logger\nimport old_tools.y\nold_tools.y.z()\n",
    ),
}
