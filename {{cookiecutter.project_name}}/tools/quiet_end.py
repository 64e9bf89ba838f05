"""No traceback of the thread that pins memory when a worker has died: the run says so in a line."""

import threading

from base import BaseTrainer, Callback


class QuietEnd(Callback):
    """Passes over what `_pin_memory_loop` of a data loader raises at its end."""

    def on_setup(self, trainer: BaseTrainer) -> None:
        before = threading.excepthook

        def hook(args: threading.ExceptHookArgs) -> None:
            is_broken = isinstance(args.exc_value, (ConnectionError, EOFError))
            if not (is_broken and "_pin_memory_loop" in getattr(args.thread, "name", "")):
                before(args)

        if "QuietEnd" not in getattr(before, "__qualname__", ""):
            threading.excepthook = hook
