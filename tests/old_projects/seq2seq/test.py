import argparse
import torch
import data_loader.data_loaders as module_data
import model.loss as module_loss
import model.model as module_arch
from parse_config import ConfigParser
from utils import word_error_rate


def main(config):
    logger = config.get_logger('test')
    data_loader = config.init_obj('data_loader', module_data, training=False)
    model = config.init_obj('arch', module_arch, vocab_size=len(data_loader.vocab))
    model.load_state_dict(torch.load(config.resume, map_location='cpu')['state_dict'])
    model.eval()
    criterion = getattr(module_loss, config['loss'])
    loss, errors, n = 0.0, 0.0, 0
    with torch.no_grad():
        for batch in data_loader:
            output = model(batch['source'], batch['target'], teacher_forcing=0.0)
            loss += criterion(output, batch['target']).item() * len(batch['target'])
            errors += word_error_rate(output.argmax(dim=2), batch['target']) * len(batch['target'])
            n += len(batch['target'])
    logger.info({'loss': loss / n, 'word_error_rate': errors / n})


if __name__ == '__main__':
    args = argparse.ArgumentParser(description='PyTorch Template')
    args.add_argument('-c', '--config', default=None, type=str,
                      help='config file path (default: None)')
    args.add_argument('-r', '--resume', default=None, type=str,
                      help='path to latest checkpoint (default: None)')
    args.add_argument('-d', '--device', default=None, type=str,
                      help='indices of GPUs to enable (default: all)')

    main(ConfigParser.from_args(args))
