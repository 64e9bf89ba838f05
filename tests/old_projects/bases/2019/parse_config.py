import logging
import os
from datetime import datetime
from functools import reduce
from operator import getitem
from pathlib import Path
from logger import setup_logging
from utils import read_json, write_json


class ConfigParser:
    def __init__(self, args, options='', timestamp=True):
        for opt in options:
            args.add_argument(*opt.flags, default=None, type=opt.type)
        args = args.parse_args()
        if args.device:
            os.environ["CUDA_VISIBLE_DEVICES"] = args.device
        self.resume = Path(args.resume) if args.resume else None
        config = read_json(self.resume.parent / 'config.json' if args.resume else args.config)
        for opt in options:
            value = getattr(args, opt.flags[-1].replace('--', ''))
            if value is not None:
                reduce(getitem, opt.target[:-1], config)[opt.target[-1]] = value
        self.__config = config
        run_id = datetime.now().strftime(r'%m%d_%H%M%S') if timestamp else ''
        save_dir = Path(config['trainer']['save_dir'])
        self.__save_dir = save_dir / 'models' / config['name'] / run_id
        self.__log_dir = save_dir / 'log' / config['name'] / run_id
        self.save_dir.mkdir(parents=True, exist_ok=True)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        write_json(config, self.save_dir / 'config.json')
        setup_logging(self.log_dir)
        self.log_levels = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}

    def initialize(self, name, module, *args):
        return getattr(module, self[name]['type'])(*args, **self[name]['args'])

    def __getitem__(self, name):
        return self.config[name]

    def get_logger(self, name, verbosity=2):
        logger = logging.getLogger(name)
        logger.setLevel(self.log_levels[verbosity])
        return logger

    @property
    def config(self):
        return self.__config

    @property
    def save_dir(self):
        return self.__save_dir

    @property
    def log_dir(self):
        return self.__log_dir
