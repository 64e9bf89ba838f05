import argparse
import torch
import data_loader.data_loaders as module_data
import models.metric as module_metric
import models.model as module_arch
from parse_config import ConfigParser


def main(config):
    logger = config.get_logger('test')
    data_loader = config.init_obj('valid_data_loader', module_data)
    model = config.init_obj('arch', module_arch)
    model.load_state_dict(torch.load(config.resume)['state_dict'])
    model.eval()
    total, n = 0.0, 0
    with torch.no_grad():
        for batch in data_loader:
            state = None
            for frame in batch['frames']:
                depth, state = model(frame['image'], frame['sparse']['depth'], state)
                total += module_metric.rmse(depth, batch['target']).item()
                n += 1
    logger.info({'rmse': total / n})


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
