import argparse
import imp
import os
import numpy as np
import torch
import data_loader.data_loaders as module_data
import model.metric as module_metric
import model.model as module_arch
from parse_config import ConfigParser
from trainer import Trainer
from utils import read_json, write_json, ensure_dir

SEED = 123
torch.manual_seed(SEED)
np.random.seed(SEED)


def main(config_file, n_folds):
    losses = imp.load_source('losses', os.path.join(os.path.dirname(os.path.abspath(__file__)), 'model', 'loss.py'))
    best = []
    for fold in range(n_folds):
        raw = read_json(config_file)
        raw['data_loader']['args']['fold'] = fold
        config = ConfigParser(raw, run_id='fold%d' % fold)
        data_loader = config.init_obj('data_loader', module_data)
        model = config.init_obj('arch', module_arch)
        optimizer = config.init_obj('optimizer', torch.optim, model.parameters())
        metrics = [getattr(module_metric, met) for met in config['metrics']]
        trainer = Trainer(model, getattr(losses, config['loss']), metrics, optimizer, config=config,
                          data_loader=data_loader, valid_data_loader=data_loader.split_validation())
        trainer.train()
        best.append(float(trainer.mnt_best))
    ensure_dir(str(config.save_dir.parent / 'summary'))
    write_json({'best': best, 'mean': float(np.mean(np.array(best, dtype=np.float)))},
               config.save_dir.parent / 'summary' / 'folds.json')


if __name__ == '__main__':
    args = argparse.ArgumentParser(description='k-fold cross-validation')
    args.add_argument('-c', '--config', default='config.json', type=str)
    args.add_argument('-k', '--folds', default=3, type=int)
    parsed = args.parse_args()
    main(parsed.config, parsed.folds)
