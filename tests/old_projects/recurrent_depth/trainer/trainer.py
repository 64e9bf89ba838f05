import torch
from base import BaseTrainer
from utils import MetricTracker


def to_device(data, device):
    if isinstance(data, dict):
        return {key: to_device(value, device) for key, value in data.items()}
    if isinstance(data, list):
        return [to_device(value, device) for value in data]
    return data.to(device) if isinstance(data, torch.Tensor) else data


class Trainer(BaseTrainer):
    def __init__(self, model, criterion, metric_ftns, optimizer, config, data_loader,
                 valid_data_loader=None, lr_scheduler=None, len_epoch=None):
        super().__init__(model, criterion, metric_ftns, optimizer, config)
        self.config = config
        self.data_loader = data_loader
        self.len_epoch = len(self.data_loader)
        self.valid_data_loader = valid_data_loader
        self.do_validation = self.valid_data_loader is not None
        self.lr_scheduler = lr_scheduler
        self.log_step = config['trainer']['logging_every']
        names = ['rmse'] + ['delta_%d' % i for i in range(1, 4)]
        self.train_metrics = MetricTracker('loss', *names, writer=self.writer)
        self.valid_metrics = MetricTracker('loss', *names, writer=self.writer)

    def _run(self, batch, tracker):
        batch = to_device(batch, self.device)
        state, total = None, 0
        for frame in batch['frames']:
            depth, state = self.model(frame['image'], frame['sparse']['depth'], state)
            total = total + self.criterion(depth, batch['target'])
        n = len(batch['target'])
        tracker.update('loss', total.item(), n=n)
        for met in self.metric_ftns:
            if met.__name__ != 'deltas':
                tracker.update(met.__name__, met(depth.detach(), batch['target']).item(), n=n)
            else:
                for i in range(1, 4):
                    tracker.update('delta_%d' % i, met(depth.detach(), batch['target'], i).item(), n=n)
        self.data_loader.num_processed += n
        return total

    def _train_epoch(self, epoch):
        self.model.train()
        self.train_metrics.reset()
        self.data_loader.begin()
        for batch_idx, batch in enumerate(self.data_loader):
            self.optimizer.zero_grad()
            self._run(batch, self.train_metrics).backward()
            self.optimizer.step()
            if batch_idx % self.log_step == 0:
                self.logger.debug('Train Epoch: {}, videos: {}, RMSE: {:.6f}'.format(
                    epoch, self.data_loader.num_processed, self.train_metrics.avg('rmse')))
        log = self.train_metrics.result()
        if self.do_validation:
            val_log = self._valid_epoch(epoch)
            log.update(**{'val_' + k: v for k, v in val_log.items()})
            self.lr_scheduler.step(val_log['loss'])
        return log

    def _valid_epoch(self, epoch, save_folder=None):
        self.model.eval()
        self.valid_metrics.reset()
        with torch.no_grad():
            for batch in self.valid_data_loader:
                self._run(batch, self.valid_metrics)
        return self.valid_metrics.result()
