import argparse
import collections
import logging
import shutil
import tempfile
import torch
import data_loader.data_loaders as module_data
import model.loss as module_loss
import model.metric as module_metric
import model.model as module_arch
from parse_config import ConfigParser, read_py
from tools.plots import title
from trainer import Trainer

logging.basicConfig(level=logging.INFO, format='')


def main(config, fold=None):
    logger = config.get_logger('train')
    logger.info(title('fold {} {}'.format(fold, config.fold)))
    data_loader = config.init_obj('data_loader', module_data)
    model = config.init_obj('arch', module_arch)
    optimizer = config.init_obj('optimizer', torch.optim, model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    metrics = [getattr(module_metric, met) for met in config['metrics']]
    trainer = Trainer(model, getattr(module_loss, config['loss']), metrics, optimizer, config=config,
                      data_loader=data_loader, scheduler=scheduler)
    return trainer.train()


if __name__ == '__main__':
    args = argparse.ArgumentParser(description='PyTorch Template')
    args.add_argument('-c', '--config', default=None, type=str)
    args.add_argument('-r', '--resume', default=None, type=str)
    args.add_argument('-d', '--device', default=None, type=str)
    tmp = tempfile.mkdtemp()
    CustomArgs = collections.namedtuple('CustomArgs', 'flags type target nargs')
    options = [CustomArgs(['--betas'], type=float, target='optimizer;args;betas', nargs='+')]
    config = ConfigParser.from_args(args, options)
    main(config)
    shutil.rmtree(tmp)
