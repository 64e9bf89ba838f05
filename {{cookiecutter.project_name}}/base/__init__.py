"""What you build on: a model, a data loader and a trainer have one of these as their base."""

from base.base_data_loader import BaseDataLoader
from base.base_model import BaseModel
from base.base_trainer import BaseTrainer
from base.callback import Callback

__all__ = ["BaseDataLoader", "BaseModel", "BaseTrainer", "Callback"]
