"""What a run says: on the console, in files, in TensorBoard."""

from logger.logger import setup_logging
from logger.progress import EpochLog, Progress
from logger.visualization import TensorboardWriter

__all__ = ["EpochLog", "Progress", "TensorboardWriter", "setup_logging"]
