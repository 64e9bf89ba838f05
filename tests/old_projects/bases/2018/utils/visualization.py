import importlib


class WriterTensorboardX():
    def __init__(self, writer_dir, logger, enable):
        self.writer = None
        if enable:
            self.writer = importlib.import_module('tensorboardX').SummaryWriter(writer_dir)
        self.step = 0
        self.mode = ''

    def set_step(self, step, mode='train'):
        self.mode = mode
        self.step = step

    def __getattr__(self, name):
        def wrapper(tag, data, *args, **kwargs):
            if self.writer is not None:
                getattr(self.writer, name)('{}/{}'.format(self.mode, tag), data, self.step, *args, **kwargs)
        return wrapper
