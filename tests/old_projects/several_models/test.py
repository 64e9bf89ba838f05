import argparse
import torch
import data_loader.data_loaders as module_data
import model.metric as module_metric
import model.model as module_arch
from parse_config import ConfigParser


def main(config):
    logger = config.get_logger('test')
    data_loader = config.init_obj('data_loader', module_data, training=False)
    checkpoint = torch.load(config.resume)
    models = {}
    for name in ['encoder', 'classifier']:
        models[name] = config.init_obj('arch_' + name, module_arch)
        models[name].load_state_dict(checkpoint['state_dicts'][name])
        models[name].eval()
    total, n = 0.0, 0
    with torch.no_grad():
        for data, target, domain in data_loader:
            output = models['classifier'](models['encoder'](data))
            total += module_metric.accuracy(output, target).item() * len(target)
            n += len(target)
    logger.info({'accuracy': total / n})


if __name__ == '__main__':
    args = argparse.ArgumentParser(description='PyTorch Template')
    args.add_argument('-c', '--config', default=None, type=str,
                      help='config file path (default: None)')
    args.add_argument('-r', '--resume', default=None, type=str,
                      help='path to latest checkpoint (default: None)')
    args.add_argument('-d', '--device', default=None, type=str,
                      help='indices of GPUs to enable (default: all)')

    main(ConfigParser.from_args(args))
