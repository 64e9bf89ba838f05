import argparse
import torch
import data_loader.data_loaders as module_data
import model.loss as module_loss
import model.metric as module_metric
import model.model as module_arch
from parse_config import ConfigParser
from trainer import Trainer


def main(config):
    data_loader = config.init_obj('data_loader', module_data)
    model = config.init_obj('arch', module_arch)
    optimizer = config.init_obj('optimizer', torch.optim, model.parameters())
    metrics = [getattr(module_metric, met) for met in config['metrics']]
    Trainer(model, getattr(module_loss, config['loss']), metrics, optimizer, config=config,
            data_loader=data_loader, valid_data_loader=data_loader.split_validation()).train()


if __name__ == '__main__':
    args = argparse.ArgumentParser(description='PyTorch Template')
    args.add_argument('-c', '--config', default=None, type=str,
                      help='config file path (default: None)')
    args.add_argument('-r', '--resume', default=None, type=str,
                      help='path to latest checkpoint (default: None)')
    args.add_argument('-d', '--device', default=None, type=str,
                      help='indices of GPUs to enable (default: all)')

    config = ConfigParser.from_args(args)
    main(config)
