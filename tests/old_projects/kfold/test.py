import argparse
import torch
import data_loader.data_loaders as module_data
import model.metric as module_metric
import model.model as module_arch
from parse_config import ConfigParser


def main(config):
    logger = config.get_logger('test')
    data_loader = config.init_obj('data_loader', module_data, training=False)
    model = config.init_obj('arch', module_arch)
    model.load_state_dict(torch.load(config.resume)['state_dict'])
    model.eval()
    total, n = 0.0, 0
    with torch.no_grad():
        for data, target in data_loader:
            total += module_metric.mae(model(data), target) * len(target)
            n += len(target)
    logger.info({'mae': total / n})


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
