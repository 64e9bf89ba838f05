import logging


def setup_logging(save_dir, log_config='logger/logger_config.json', default_level=logging.INFO):
    logging.basicConfig(level=default_level)
