from logger import Mode
from trainer.trainer import Trainer


class SegmentationTrainer(Trainer):
    def _process(self, epoch, data_loader, metrics, mode=Mode.TRAIN):
        for batch_idx, (before, now, mask) in enumerate(data_loader):
            before, now, mask = before.to(self.device), now.to(self.device), mask.to(self.device)
            if mode == Mode.TRAIN:
                self.optimizer.zero_grad()
            output = self.model(before, now)
            loss = self.loss(output, mask)
            if mode == Mode.TRAIN:
                loss.backward()
                self.optimizer.step()
            self.writer.set_step((epoch - 1) * len(data_loader) + batch_idx, mode)
            metrics.update('loss', loss.item())
            for met in self.metric_ftns:
                metrics.update(met.__name__, met(output, mask))
            if not batch_idx % 4:
                self.writer.add_image('scan', now[0])
