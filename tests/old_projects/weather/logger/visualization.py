import importlib


class TensorboardWriter():
    def __init__(self, log_dir, logger, enabled):
        self.writer = None
        if enabled:
            self.writer = importlib.import_module('torch.utils.tensorboard').SummaryWriter(str(log_dir))
        self.step = 0
        self.mode = ''

    def set_step(self, step, mode='train'):
        self.mode = mode
        self.step = step

    def next(self):
        self.step += 1
        return self.step

    def __getattr__(self, name):
        def wrapper(tag, data, *args, **kwargs):
            if self.writer is not None:
                getattr(self.writer, name)('{}/{}'.format(tag, self.mode), data, self.step, *args, **kwargs)
        return wrapper
