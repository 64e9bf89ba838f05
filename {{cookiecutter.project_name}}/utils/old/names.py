"""Names that older projects call."""

from functools import partial

from utils.lookup import look_up


def prepare_device(n_gpu_use):
    """The device for `n_gpu_use` GPUs and the list of their numbers, for scripts that ask so."""
    import torch  # takes a second, so not for --help

    device_ids = list(range(min(n_gpu_use or 0, torch.cuda.device_count())))
    return torch.device("cuda:0" if device_ids else "cpu"), device_ids


class OldNames:
    """More methods of ConfigParser."""

    @property
    def log_dir(self):
        return self.save_dir

    def initialize(self, name, module, *args, **kwargs):
        """Of 2019: as init_obj."""
        return self.init_obj(name, module, *args, **kwargs)

    def init_ftn(self, name, module, *args, **kwargs):
        """As init_obj, but not called yet: a function that takes the remaining arguments."""
        part = self.part(name)
        return partial(look_up(part.type, module), *args, **{**part.args, **kwargs})
