import torch
from base import BaseTrainer
from utils import *


class Trainer(BaseTrainer):
    def __init__(self, model, criterion, metric_ftns, optimizer, config, data_loader, scheduler=None):
        super().__init__(model, criterion, metric_ftns, optimizer, config, scheduler=scheduler)
        self.step = 'a word of my own'
        self.data_loader = data_loader
        self.valid_data_loader = data_loader.split_validation()
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.log_every = len(data_loader) // 10
        self.train_metrics = MetricTracker('loss', *[m.__name__ for m in metric_ftns], writer=self.writer)

    def _train_epoch(self, epoch):
        self.model.train()
        self.train_metrics.reset()
        for batch_idx, (data, target) in enumerate(self.data_loader):
            data, target = data.to(self.device), target.to(self.device)
            self.optimizer.zero_grad()
            output = self.model(data)
            loss = self.criterion(output, target)
            loss.backward()
            self.optimizer.step()
            self.writer.set_step(self.writer.next())
            self.train_metrics.update('loss', loss.item())
            for met in self.metric_ftns:
                self.train_metrics.update(met.__name__, met(output, target))
            self.train_metrics.confusion += len(data)
            if batch_idx % self.log_every == 0:
                self.logger.debug('epoch %d: %d of %d %s', epoch, batch_idx, len(self.data_loader), self.step)
        log = self.train_metrics.result()
        log['by_season'] = {'samples': self.train_metrics.get_confusion(), 'warmup': self.warmup}
        log['zero'] = celsius(273.15)
        return log
