import argparse
import torch
import data_loader.data_loaders as module_data
import model.model as module_arch
from parse_config import ConfigParser


def main(config):
    loader = config.init_obj('data_loader', module_data)
    model = config.init_obj('arch', module_arch)
    model.load_state_dict(torch.load(config.resume)['state_dict'])
    last, first = max(loader.sampler), min(loader.valid_sampler)
    print({'chronological': bool(last < first), 'rate': torch.load(config.resume)['optimizer']['param_groups'][0]['lr']})


if __name__ == '__main__':
    args = argparse.ArgumentParser(description='PyTorch Template')
    args.add_argument('-c', '--config', default=None, type=str)
    args.add_argument('-r', '--resume', default=None, type=str)
    args.add_argument('-d', '--device', default=None, type=str)
    config = ConfigParser.from_args(args)
    main(config)
