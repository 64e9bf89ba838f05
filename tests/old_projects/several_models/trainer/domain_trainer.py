import torch
from base import BaseTrainer
from utils import MetricTracker


class DomainTrainer(BaseTrainer):
    """An encoder whose features tell a classifier the class, and a critic nothing of the domain."""
    def __init__(self, models, criterion, metric_ftns, optimizers, config, device,
                 data_loader, valid_data_loader=None, lr_schedulers=None):
        super().__init__(models['encoder'], criterion, metric_ftns, optimizers['encoder'], config)
        self.device = device
        self.models = models
        self.optimizers = optimizers
        self.lr_schedulers = lr_schedulers
        self.data_loader = data_loader
        self.valid_data_loader = valid_data_loader
        self.weight = config['adversarial_weight']
        self.train_metrics = MetricTracker('loss', 'loss_domain', 'accuracy', writer=self.writer)
        self.valid_metrics = MetricTracker('loss', 'loss_domain', 'accuracy', writer=self.writer)
        print('starts with epoch', self.start_epoch)

    def _losses(self, batch, tracker):
        data, target, domain = [x.to(self.device) for x in batch]
        features = self.models['encoder'](data)
        output = self.models['classifier'](features)
        loss = self.criterion['class'](output, target)
        loss_domain = self.criterion['domain'](self.models['critic'](features), domain)
        tracker.update('loss', loss.item(), len(target))
        tracker.update('loss_domain', loss_domain.item(), len(target))
        tracker.update('accuracy', self.metric_ftns[0](output, target), len(target))
        return loss, loss_domain

    def _train_epoch(self, epoch):
        for model in self.models.values():
            model.train()
        self.train_metrics.reset()
        for batch_idx, batch in enumerate(self.data_loader):
            for optimizer in self.optimizers.values():
                optimizer.zero_grad()
            loss, loss_domain = self._losses(batch, self.train_metrics)
            (loss - self.weight * loss_domain).backward(retain_graph=True)
            self.optimizers['critic'].zero_grad()
            loss_domain.backward(inputs=list(self.models['critic'].parameters()))
            for optimizer in self.optimizers.values():
                optimizer.step()
        log = self.train_metrics.result()
        for model in self.models.values():
            model.eval()
        self.valid_metrics.reset()
        with torch.no_grad():
            for batch in self.valid_data_loader:
                self._losses(batch, self.valid_metrics)
        log.update(**{'val_' + k: v for k, v in self.valid_metrics.result().items()})
        for scheduler in self.lr_schedulers.values():
            scheduler.step()
        return log

    def _save_checkpoint(self, epoch, save_best=False):
        state = {
            'arch': 'Domains',
            'epoch': epoch,
            'state_dict': self.models['encoder'].state_dict(),
            'state_dicts': {name: model.state_dict() for name, model in self.models.items()},
            'optimizers': {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            'monitor_best': self.mnt_best,
            'config': self.config
        }
        filename = str(self.checkpoint_dir / 'checkpoint-epoch{}.pth'.format(epoch))
        torch.save(state, filename)
        if save_best:
            torch.save(state, str(self.checkpoint_dir / 'model_best.pth'))

    def _resume_checkpoint(self, resume_path):
        checkpoint = torch.load(str(resume_path), map_location=self.device)
        self.start_epoch = checkpoint['epoch'] + 1
        self.mnt_best = checkpoint['monitor_best']
        for name, model in self.models.items():
            model.load_state_dict(checkpoint['state_dicts'][name])
            self.optimizers[name].load_state_dict(checkpoint['optimizers'][name])
        self.logger.info('Checkpoint loaded. Resume training from epoch {}'.format(self.start_epoch))
