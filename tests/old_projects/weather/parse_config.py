import logging
import os
from datetime import datetime
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from logger import setup_logging
from utils import read_json, write_json


class ConfigParser:
    def __init__(self, config, resume=None, modification=None, run_id=None):
        for keys, value in (modification or {}).items():
            if value is not None:
                keys = keys.split(';')
                reduce(getitem, keys[:-1], config)[keys[-1]] = value
        self._config = config
        self.resume = resume
        run_id = datetime.now().strftime(r'%m%d_%H%M%S') if run_id is None else run_id
        save_dir = Path(config['trainer']['save_dir'])
        self._save_dir = save_dir / 'models' / config['name'] / run_id
        self._log_dir = save_dir / 'log' / config['name'] / run_id
        self._save_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir.mkdir(parents=True, exist_ok=True)
        write_json(config, self._save_dir / 'config.json')
        setup_logging(self._log_dir)
        self.log_levels = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}

    @classmethod
    def from_args(cls, args, options='', training=True):
        for opt in options:
            args.add_argument(*opt.flags, default=None, type=opt.type)
        args = args.parse_args()
        if args.device is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = args.device
        resume = None if args.resume is None else Path(args.resume)
        config = read_json(args.config if resume is None else resume.parent / 'config.json')
        name = lambda opt: opt.flags[-1].replace('--', '')
        return cls(config, resume, {opt.target: getattr(args, name(opt)) for opt in options})

    def init_obj(self, name, module, *args, **kwargs):
        return self.init_ftn(name, module, *args, **kwargs)()

    def init_ftn(self, name, module, *args, **kwargs):
        module_args = dict(self[name]['args'])
        module_args.update(kwargs)
        return partial(getattr(module, self[name]['type']), *args, **module_args)

    def __getitem__(self, name):
        return self.config[name]

    def get_logger(self, name, verbosity=2):
        logger = logging.getLogger(name)
        logger.setLevel(self.log_levels[verbosity])
        return logger

    @property
    def fold(self):
        return self._config.get('fold', 0)

    @property
    def config(self):
        return self._config

    @property
    def save_dir(self):
        return self._save_dir

    @property
    def log_dir(self):
        return self._log_dir


def read_py(fname):
    raise NotImplementedError(fname)
