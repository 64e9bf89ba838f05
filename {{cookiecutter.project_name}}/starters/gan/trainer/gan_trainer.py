"""A training step of two networks with an optimizer each: an example of one of your own."""

from typing import Any

import torch

from trainer.trainer import Trainer
from utils import distributed
from utils.device import averaged_model

GRID = 8  # rows and columns of the images that are kept of each epoch


class GanTrainer(Trainer):
    """The discriminator learns to tell real images from made ones, the generator to mislead it."""

    def train_step(self, batch: Any) -> dict[str, Any]:
        real, _ = batch
        made = self.model(torch.randn(len(real), self.model.noise_size, device=self.device))
        discriminate = self.model.discriminator

        loss_d = self.criterion["discriminator"](discriminate(real), discriminate(made.detach()))
        self.optimize(loss_d, self.optimizer["discriminator"])
        loss_g = self.criterion["generator"](discriminate(made))
        self.optimize(loss_g, self.optimizer["generator"])
        return {"loss_d": loss_d, "loss_g": loss_g, **self.measure(made, real)}

    def valid_step(self, batch: Any) -> dict[str, Any]:
        """As many made images as real ones, compared."""
        real, _ = batch
        made = self.model(self.valid_noise(len(real)))
        return self.measure(made, real)

    def valid_noise(self, n: int) -> torch.Tensor:
        """The next n vectors of noise; each evaluation has the same ones."""
        return torch.randn(n, self.model.noise_size, generator=self.valid_generator).to(self.device)

    def evaluate(self, data_loader: Any) -> dict[str, Any]:
        self.valid_generator = torch.Generator().manual_seed(distributed.rank())
        return super().evaluate(data_loader)

    def _valid_epoch(self, epoch: int) -> dict[str, Any]:
        log = super()._valid_epoch(epoch)
        if epoch > 0 and distributed.is_main():
            self.save_samples(epoch)
        return log

    @torch.no_grad()
    def save_samples(self, epoch: int) -> None:
        """Made images, always from the same noise, as samples_epoch<N>.png and in TensorBoard."""
        from matplotlib.image import imsave

        self.valid_generator.manual_seed(0)
        with averaged_model(self):
            images = self.model.eval()(self.valid_noise(GRID * GRID))
        grid = torch.cat([torch.cat([*row], dim=2) for row in images.split(GRID)], dim=1)[0].cpu()
        grid = (grid - grid.min()) / (grid.max() - grid.min())
        imsave(self.checkpoint_dir / f"samples_epoch{epoch}.png", grid.numpy(), cmap="gray")
        self.writer.set_step(self.step, "valid")
        self.writer.add_image("samples", grid[None])
