from abc import abstractmethod
import torch
from base import BaseTrainer
from logger import Mode
from utils import MetricTracker


class Trainer(BaseTrainer):
    def __init__(self, model, loss, metric_ftns, optimizer, config, data_loader,
                 valid_data_loader=None, lr_scheduler=None, len_epoch=None):
        super().__init__(model, loss, metric_ftns, optimizer, config)
        self.config = config
        self.metric_ftns = metric_ftns
        self.data_loader = data_loader
        self.valid_data_loader = valid_data_loader
        self.do_validation = self.valid_data_loader is not None
        self.lr_scheduler = lr_scheduler
        names = [m.__name__ for m in metric_ftns]
        self.train_metrics = MetricTracker('loss', *names, writer=self.writer)
        self.valid_metrics = MetricTracker('loss', *names, writer=self.writer)

    @abstractmethod
    def _process(self, epoch, data_loader, metrics, mode=Mode.TRAIN):
        raise NotImplementedError('has to be implemented')

    def _train_epoch(self, epoch):
        self.model.train()
        self.train_metrics.reset()
        self._process(epoch, self.data_loader, self.train_metrics, Mode.TRAIN)
        log = self.train_metrics.result()
        if self.do_validation:
            val_log = self._valid_epoch(epoch)
            log.update(**{'val_' + k: v for k, v in val_log.items()})
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()
        return log

    def _valid_epoch(self, epoch):
        self.model.eval()
        self.valid_metrics.reset()
        with torch.no_grad():
            self._process(epoch, self.valid_data_loader, self.valid_metrics, Mode.VAL)
        for name, p in self.model.named_parameters():
            self.writer.add_histogram(name, p, bins='auto')
        return self.valid_metrics.result()
