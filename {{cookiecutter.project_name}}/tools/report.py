"""The report of a run, made by report.py after the last epoch, where `trainer.report` is true."""

from collections.abc import Iterator
from importlib.util import find_spec

from base import BaseTrainer, Callback
from tools.alone import alone
from utils import distributed
from utils.errors import as_warning
from utils.seed import preserved_random_state


class Report(Callback):
    """Writes report.html. The file is named so that the records of the run are complete before."""

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        is_wanted = trainer.config.settings.trainer.report and distributed.is_main()
        is_over = outcome in ("finished", "stopped early")
        if not (is_wanted and is_over and find_spec("report")):
            return
        with as_warning(trainer.logger, "no report"), alone(), preserved_random_state():
            from report import write  # takes matplotlib

            trainer.logger.info("Report: %s", write(trainer.checkpoint_dir))

    def findings(self, trainer: BaseTrainer) -> Iterator[tuple[str, str]]:
        """What --check is to say."""
        if (path := trainer.checkpoint_dir / "report.html").exists():
            yield "report", f"{path.stat().st_size / 1e6:.1f} MB"
