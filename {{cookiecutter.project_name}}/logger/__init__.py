from logger.logger import setup_logging
from logger.metrics_csv import MetricsCsv
from logger.visualization import TensorboardWriter

__all__ = ["MetricsCsv", "TensorboardWriter", "setup_logging"]
