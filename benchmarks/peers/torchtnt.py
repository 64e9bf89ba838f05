import torch.nn.functional as F
from torchtnt.framework import train
from torchtnt.framework.unit import TrainUnit

from peers.turns import turn


class Unit(TrainUnit):
    def __init__(self, work):
        super().__init__()
        self.net, self.optimizer = work.parts()

    def on_train_epoch_start(self, state):
        turn()

    def train_step(self, state, batch):
        data, target = batch
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.net(data), target)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def run(work):
    train(Unit(work), work.loader(), max_epochs=10**6)
