import torch
from base import BaseTrainer
from utils import MetricTracker


class Trainer(BaseTrainer):
    def __init__(self, model, criterion, metric_ftns, optimizer, config, data_loader,
                 valid_data_loader=None, lr_scheduler=None, len_epoch=None):
        super().__init__(model, criterion, metric_ftns, optimizer, config)
        self.data_loader = data_loader
        self.valid_data_loader = valid_data_loader
        self.valid_metrics = MetricTracker('loss', *[m.__name__ for m in self.metric_ftns])

    def _train_epoch(self, epoch):
        self.model.train()
        total = 0
        for data, target in self.data_loader:
            data, target = data.to(self.device), target.to(self.device)
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(data), target)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        log = {'loss': total / len(self.data_loader)}
        log.update({'val_' + k: v for k, v in self._valid_epoch(epoch).items()})
        return log

    def _valid_epoch(self, epoch):
        self.model.eval()
        self.valid_metrics.reset()
        with torch.no_grad():
            for data, target in self.valid_data_loader:
                output = self.model(data)
                self.valid_metrics.update('loss', self.criterion(output, target).item(), len(target))
                for met in self.metric_ftns:
                    self.valid_metrics.update(met.__name__, met(output, target), len(target))
        return self.valid_metrics.result()
