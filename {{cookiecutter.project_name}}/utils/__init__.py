from utils.errors import UserError
from utils.files import ensure_dir, read_json, write_json
from utils.loop import inf_loop
from utils.meter import MetricTracker
from utils.old.names import prepare_device

__all__ = [
    "MetricTracker",
    "UserError",
    "ensure_dir",
    "inf_loop",
    "prepare_device",
    "read_json",
    "write_json",
]
