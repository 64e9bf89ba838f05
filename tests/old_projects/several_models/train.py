import argparse
import collections
import torch
import data_loader.data_loaders as module_data
import model.loss as module_loss
import model.metric as module_metric
import model.model as module_arch
from parse_config import ConfigParser
from trainer import DomainTrainer
from utils import prepare_device


def main(config):
    device, device_ids = prepare_device(config['n_gpu'])
    data_loader = config.init_obj('data_loader', module_data)
    valid_data_loader = data_loader.split_validation()
    names = ['encoder', 'classifier', 'critic']
    models = {name: config.init_obj('arch_' + name, module_arch).to(device) for name in names}
    optimizers = {name: config.init_obj('optimizer_' + name, torch.optim, models[name].parameters()) for name in names}
    schedulers = {name: config.init_obj('lr_scheduler', torch.optim.lr_scheduler, optimizers[name]) for name in names}
    criterion = {name: getattr(module_loss, loss) for name, loss in config['losses'].items()}
    metrics = [getattr(module_metric, met) for met in config['metrics']]
    trainer = DomainTrainer(models, criterion, metrics, optimizers, config=config, device=device,
                            data_loader=data_loader, valid_data_loader=valid_data_loader,
                            lr_schedulers=schedulers)
    trainer.train()


if __name__ == '__main__':
    args = argparse.ArgumentParser(description='PyTorch Template')
    args.add_argument('-c', '--config', default=None, type=str,
                      help='config file path (default: None)')
    args.add_argument('-r', '--resume', default=None, type=str,
                      help='path to latest checkpoint (default: None)')
    args.add_argument('-d', '--device', default=None, type=str,
                      help='indices of GPUs to enable (default: all)')

    CustomArgs = collections.namedtuple('CustomArgs', 'flags type target')
    options = [
        CustomArgs(['--lr', '--learning_rate'], type=float, target='optimizer_encoder;args;lr'),
        CustomArgs(['--weight'], type=float, target='adversarial_weight'),
    ]
    config = ConfigParser.from_args(args, options)
    main(config)
