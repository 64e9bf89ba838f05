import argparse
import torch
import data_loader.data_loaders as module_data
import model.loss as module_loss
import model.metric as module_metric
import model.model as module_arch
from parse_config import ConfigParser


def main(config):
    logger = config.get_logger('test')
    data_loader = getattr(module_data, config['data_loader']['type'])(
        batch_size=8, shuffle=False, validation_split=0.0, training=False, num_workers=0)
    model = config.initialize('arch', module_arch)
    checkpoint = torch.load(config.resume)
    model.load_state_dict(checkpoint['state_dict'])
    model.eval()
    dice = 0.0
    with torch.no_grad():
        for before, now, mask in data_loader:
            dice += module_metric.dice(model(before, now), mask).item() * len(mask)
    logger.info({'dice': dice / len(data_loader.dataset)})


if __name__ == '__main__':
    args = argparse.ArgumentParser(description='PyTorch Template')
    args.add_argument('-c', '--config', default=None, type=str,
                      help='config file path (default: None)')
    args.add_argument('-r', '--resume', default=None, type=str,
                      help='path to latest checkpoint (default: None)')
    args.add_argument('-d', '--device', default=None, type=str,
                      help='indices of GPUs to enable (default: all)')

    config = ConfigParser(args)
    main(config)
