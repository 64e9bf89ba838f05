from itertools import count

from utils.errors import UserError


def inf_loop(data_loader, seed=0, first=0):
    """The batches of endless passes over `data_loader`, from batch number `first` on.

    A loader with `set_epoch` is told each pass, so that batch n is the same batch in every run with
    this seed, and those before `first` are not loaded. Any other loader starts at its beginning.
    """
    if not hasattr(data_loader, "set_epoch"):
        while True:
            is_empty = True
            for batch in data_loader:
                is_empty = False
                yield batch
            if is_empty:
                raise UserError("the data loader gives no batch any more")
    passes, start = divmod(first, len(data_loader))
    for number in count(passes):
        data_loader.set_epoch(seed, number, start)
        yield from data_loader
        start = 0
