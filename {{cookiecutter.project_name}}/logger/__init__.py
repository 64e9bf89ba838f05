"""What a run says: on the console, in files, in TensorBoard."""

from logger.logger import Progress, add_row, log_epoch, setup_logging
from logger.visualization import TensorboardWriter

__all__ = ["Progress", "TensorboardWriter", "add_row", "log_epoch", "setup_logging"]
