import argparse
import torch
import data_loader.data_loaders as module_data
import model.metric as module_metric
import model.model as module_arch
from parse_config import ConfigParser


def main(config):
    logger = config.get_logger('test')
    data_loader = getattr(module_data, config['data_loader']['type'])(
        config['data_loader']['args']['data_dir'],
        batch_size=512,
        shuffle=False,
        validation_split=0.0,
        training=False,
        num_workers=2
    )
    model = config.init_obj('arch', module_arch)
    checkpoint = torch.load(config.resume)
    state_dict = {k.replace('module.', ''): v for k, v in checkpoint['state_dict'].items()}
    model.load_state_dict(state_dict)
    model.eval()
    totals = torch.zeros(len(config['metrics']))
    n = 0
    with torch.no_grad():
        for data, target in data_loader:
            output = model(data)
            for i, name in enumerate(config['metrics']):
                totals[i] += getattr(module_metric, name)(output, target) * len(target)
            n += len(target)
    logger.info(dict(zip(config['metrics'], (totals / n).tolist())))


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
