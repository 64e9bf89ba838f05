import os

import torch
import torch.nn.functional as F
from transformers import Trainer, TrainerCallback, TrainingArguments

from peers.turns import turn


class WithLoss(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, labels):
        return {"loss": F.cross_entropy(self.net(x), labels)}


class Turns(TrainerCallback):
    def on_epoch_begin(self, *_, **__):
        turn()


def collate(samples):
    x, y = torch.utils.data.default_collate(samples)
    return {"x": x, "labels": y}


def run(work):
    net, optimizer = work.parts()
    arguments = TrainingArguments(
        os.environ["BENCHMARK_FOLDER"],
        per_device_train_batch_size=work.batch,
        num_train_epochs=10**4,
        max_grad_norm=0,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1)
    Trainer(
        WithLoss(net),
        arguments,
        data_collator=collate,
        train_dataset=work.dataset,
        callbacks=[Turns()],
        optimizers=(optimizer, schedule),
    ).train()
