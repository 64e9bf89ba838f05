"""What a run says: on the console, in files, in TensorBoard."""

from logger.logger import setup_logging
from logger.progress import Progress, log_epoch
from logger.visualization import TensorboardWriter

__all__ = ["Progress", "TensorboardWriter", "log_epoch", "setup_logging"]
