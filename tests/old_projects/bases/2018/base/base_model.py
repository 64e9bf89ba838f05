import logging
import torch.nn as nn
import numpy as np


class BaseModel(nn.Module):
    def __init__(self):
        super(BaseModel, self).__init__()
        self.logger = logging.getLogger(self.__class__.__name__)

    def forward(self, *input):
        raise NotImplementedError

    def summary(self):
        parameters = filter(lambda p: p.requires_grad, self.parameters())
        self.logger.info('Trainable parameters: {}'.format(sum([np.prod(p.size()) for p in parameters])))
        self.logger.info(self)
