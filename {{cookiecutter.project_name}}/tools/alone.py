"""What a report or a manifest builds in the main process, while the others go on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def alone() -> Iterator[None]:
    """While entered, this process works as if there were no others, for what only it does."""
    launch = os.environ.pop("TORCHELASTIC_RUN_ID", None)
    try:
        yield
    finally:
        if launch is not None:
            os.environ["TORCHELASTIC_RUN_ID"] = launch
