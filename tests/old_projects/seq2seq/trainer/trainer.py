import torch
from base import BaseTrainer
from utils.util import MetricTracker, word_error_rate


class Trainer(BaseTrainer):
    def __init__(self, model, criterion, metric_ftns, optimizer, config,
                 data_loader, valid_data_loader=None, lr_scheduler=None, len_epoch=None):
        super().__init__(model, criterion, metric_ftns, optimizer, config)
        self.data_loader = data_loader
        self.valid_data_loader = valid_data_loader
        self.do_validation = self.valid_data_loader is not None
        self.len_epoch = len(self.data_loader)
        self.teacher_forcing = config['trainer']['teacher_forcing']
        names = [m.__name__ for m in self.metric_ftns] + ['word_error_rate']
        self.train_metrics = MetricTracker('loss', *names, writer=self.writer)
        self.valid_metrics = MetricTracker('loss', *names, writer=self.writer)

    def _train_epoch(self, epoch):
        self.model.train()
        self.train_metrics.reset()
        for batch_idx, batch in enumerate(self.data_loader):
            source, target = batch['source'].cuda(), batch['target'].cuda()
            self.optimizer.zero_grad()
            output = self.model(source, target, teacher_forcing=self.teacher_forcing)
            loss = self.criterion(output, target)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config['trainer']['max_norm'])
            self.optimizer.step()
            self.writer.set_step((epoch - 1) * self.len_epoch + batch_idx)
            self._update(self.train_metrics, loss, output, target)
            self.logger.debug('%d of %d samples', batch_idx * self.data_loader.batch_size,
                              self.data_loader.n_samples)
        log = self.train_metrics.result()
        if self.do_validation:
            log.update(**{'val_' + k: v for k, v in self._valid_epoch(epoch).items()})
        return log

    def _valid_epoch(self, epoch):
        self.model.eval()
        self.valid_metrics.reset()
        with torch.no_grad():
            for batch_idx, batch in enumerate(self.valid_data_loader):
                source, target = batch['source'].cuda(), batch['target'].cuda()
                output = self.model(source, target, teacher_forcing=0.0)
                self.writer.set_step((epoch - 1) * len(self.valid_data_loader) + batch_idx, 'valid')
                self._update(self.valid_metrics, self.criterion(output, target), output, target)
        return self.valid_metrics.result()

    def _update(self, tracker, loss, output, target):
        tracker.update('loss', loss.item(), n=len(target))
        for met in self.metric_ftns:
            tracker.update(met.__name__, met(output, target), n=len(target))
        tracker.update('word_error_rate', word_error_rate(output.argmax(dim=2), target), n=len(target))
