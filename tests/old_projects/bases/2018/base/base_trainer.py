import os
import math
import json
import logging
import datetime
import torch
from utils.util import ensure_dir
from utils.visualization import WriterTensorboardX


class BaseTrainer:
    def __init__(self, model, loss, metrics, optimizer, resume, config, train_logger=None):
        self.config = config
        self.logger = logging.getLogger(self.__class__.__name__)
        self.device, _ = self._prepare_device(config['n_gpu'])
        self.model = model.to(self.device)
        self.loss = loss
        self.metrics = metrics
        self.optimizer = optimizer
        self.train_logger = train_logger
        self.epochs = config['trainer']['epochs']
        self.save_period = config['trainer']['save_period']
        self.verbosity = config['trainer']['verbosity']
        self.monitor = config['trainer'].get('monitor', 'off')
        self.mnt_mode, self.mnt_best = 'off', math.inf
        self.start_epoch = 1
        start_time = datetime.datetime.now().strftime('%m%d_%H%M%S')
        self.checkpoint_dir = os.path.join(config['trainer']['save_dir'], config['name'], start_time)
        writer_dir = os.path.join(config['trainer']['log_dir'], config['name'], start_time)
        self.writer = WriterTensorboardX(writer_dir, self.logger, config['trainer']['tensorboardX'])
        ensure_dir(self.checkpoint_dir)
        with open(os.path.join(self.checkpoint_dir, 'config.json'), 'w') as handle:
            json.dump(config, handle, indent=4, sort_keys=False)
        if resume:
            self._resume_checkpoint(resume)

    def _prepare_device(self, n_gpu_use):
        n_gpu_use = min(n_gpu_use, torch.cuda.device_count())
        return torch.device('cuda:0' if n_gpu_use > 0 else 'cpu'), list(range(n_gpu_use))

    def train(self):
        for epoch in range(self.start_epoch, self.epochs + 1):
            log = {'epoch': epoch}
            for key, value in self._train_epoch(epoch).items():
                if key == 'metrics':
                    log.update({met.__name__: value[i] for i, met in enumerate(self.metrics)})
                elif key == 'val_metrics':
                    log.update({'val_' + met.__name__: value[i] for i, met in enumerate(self.metrics)})
                else:
                    log[key] = value
            if self.train_logger is not None:
                self.train_logger.add_entry(log)
            if epoch % self.save_period == 0:
                self._save_checkpoint(epoch)

    def _train_epoch(self, epoch):
        raise NotImplementedError

    def _save_checkpoint(self, epoch, save_best=False):
        state = {
            'arch': type(self.model).__name__,
            'epoch': epoch,
            'logger': self.train_logger,
            'state_dict': self.model.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'monitor_best': self.mnt_best,
            'config': self.config
        }
        torch.save(state, os.path.join(self.checkpoint_dir, 'checkpoint-epoch{}.pth'.format(epoch)))

    def _resume_checkpoint(self, resume_path):
        checkpoint = torch.load(resume_path)
        self.start_epoch = checkpoint['epoch'] + 1
        self.model.load_state_dict(checkpoint['state_dict'])
        self.optimizer.load_state_dict(checkpoint['optimizer'])
        self.train_logger = checkpoint['logger']
