import os
import warnings

import lightning
import torch.nn.functional as F

from peers.turns import turn


class Module(lightning.LightningModule):
    def __init__(self, work):
        super().__init__()
        self.net, self.optimizer = work.parts()

    def training_step(self, batch, _):
        data, target = batch
        return F.cross_entropy(self.net(data), target)

    def configure_optimizers(self):
        return self.optimizer

    def on_train_epoch_start(self):
        turn()


def run(work):
    warnings.simplefilter("ignore")
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = lightning.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        default_root_dir=os.environ["BENCHMARK_FOLDER"],
        **dict.fromkeys(off, False),
    )
    trainer.fit(Module(work), work.loader())
