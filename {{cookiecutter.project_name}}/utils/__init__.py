"""One subject a file; here are the names that code from older projects imports from `utils`."""

from utils.device import prepare_device
from utils.errors import UserError
from utils.files import ensure_dir, read_json, write_json
from utils.meter import MetricTracker
from utils.samples import inf_loop

__all__ = [
    "MetricTracker",
    "UserError",
    "ensure_dir",
    "inf_loop",
    "prepare_device",
    "read_json",
    "write_json",
]
