from logger.epoch_log import EpochLog
from logger.logger import setup_logging
from logger.visualization import TensorboardWriter, open_writer

__all__ = ["EpochLog", "TensorboardWriter", "open_writer", "setup_logging"]
