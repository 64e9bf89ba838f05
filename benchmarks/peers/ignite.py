import torch.nn.functional as F
from ignite.engine import Events, create_supervised_trainer

from peers.turns import turn


def run(work):
    model, optimizer = work.parts()
    trainer = create_supervised_trainer(
        model, optimizer, F.cross_entropy, output_transform=lambda x, y, output, loss: loss.detach()
    )
    trainer.add_event_handler(Events.EPOCH_STARTED, turn)
    trainer.run(work.loader(), max_epochs=10**6)
