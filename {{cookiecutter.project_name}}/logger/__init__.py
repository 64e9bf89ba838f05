from logger.epoch_log import EpochLog
from logger.logger import setup_logging
from logger.visualization import TensorboardWriter

__all__ = ["EpochLog", "TensorboardWriter", "setup_logging"]
