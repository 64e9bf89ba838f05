"""Many runs as one experiment: seeds, folds, a search; over any number of processes and machines.

python sweep.py --seeds 5                               the same config with five seeds
python sweep.py --folds 5                               five-fold cross-validation
python sweep.py --search search.yaml --trials 20        a search by Optuna, see docs/sweep.md
python sweep.py --search search.yaml --trials 20 --seeds 3 --jobs 4

Killed anywhere, the same command goes on. Started several times, it shares the trials.
"""

import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from parse_config import ConfigParser
from train import OPTIONS
from utils.command_line import CommandLine, exit_on_user_error
from utils.errors import RunError, UserError
from utils.files import find_file


def add_arguments(parser: CommandLine) -> None:
    numbers = {
        "seeds": "train with N seeds, from that of the config on (1)",
        "folds": "validate on each of N folds",
        "trials": "how many points of the space to try (20)",
        "jobs": "trials at a time (1)",
        "nproc-per-trial": "processes of a trial, which torchrun starts (1)",
    }
    ones = ("seeds", "jobs", "nproc-per-trial")
    for name, words in numbers.items():
        default = 1 if name in ones else None
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=words)
    parser.add_argument("--search", metavar="FILE", help="a space to search, JSON or YAML")
    parser.add_argument("--name", help="of the sweep (that of the file, or seeds or folds)")
    parser.add_argument("--storage", help="URL of a database, or a journal file for all machines")
    words = "a machine without a sign of life for S seconds is dead (60)"
    parser.add_argument("--grace", type=float, default=60, metavar="S", help=words)
    parser.add_argument("--retry", action="store_true", help="take trials that have failed again")


def check_numbers(args: Any) -> None:
    """Raises UserError for a number that is too small."""
    least_of = {"seeds": 1, "folds": 2, "trials": 1, "jobs": 1, "nproc-per-trial": 1}
    for name, least in least_of.items():
        value = getattr(args, name.replace("-", "_"))
        if value is not None and value < least:
            raise UserError(f"command line: --{name} {value}: must be {least} or more")
    if args.name is not None and (Path(args.name).name != args.name or args.name.startswith(".")):
        raise UserError(f"command line: --name {args.name!r}: must be a name for a folder")
    if args.seeds == 1 and args.folds is None and args.search is None:
        raise UserError("command line: nothing to sweep: give --seeds, --folds or --search")


def make_plan(config: ConfigParser, args: Any) -> Any:
    """What to train, checked. Raises UserError for all that can be known before."""
    try:
        import optuna
    except ImportError:
        raise UserError("sweep.py takes Optuna: pip install optuna") from None
    from tools.plan import Plan
    from tools.search import read_search

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.resume is not None:
        raise UserError("command line: -r: a sweep goes on by the same command, without -r")
    if config["trainer"]["monitor"] == "off":
        raise UserError("trainer.monitor = 'off': a sweep compares what it names")
    words = ["seeds"] * (args.seeds > 1) + ["folds"] * (args.folds is not None)
    name = args.name or (Path(args.search).stem if args.search else "_".join(words))
    plan = Plan(config, name, args.seeds, args.folds)
    if args.search is not None:
        plan.search = read_search(find_file(args.search), plan.check)
    plan.check({})
    plan.check_folds()
    return plan


def work_to_the_end(work: Any, environments: list[dict[str, str]], results: Any) -> int:
    """Work in a thread for each trial at a time, and show how far it is; the signal to stop."""
    from utils.command_line import StopSignals

    is_terminal, last = sys.stdout.isatty(), ""
    end = "" if is_terminal else "\n"
    with StopSignals() as signals, ThreadPoolExecutor(len(environments)) as pool:
        futures = [pool.submit(work, environment) for environment in environments]
        try:
            while wait(futures, timeout=1).not_done and not signals.received:
                if any(one.done() and one.exception() for one in futures):
                    break
                line = results().progress()
                if is_terminal or line.partition(", about")[0] != last:
                    last = line.partition(", about")[0]
                    print(f"\r\033[K{line}" if is_terminal else line, end=end, flush=True)
        finally:
            work.stopping.set()
    print(end="\r\033[K" if is_terminal else "")
    for future in futures:
        future.result()
    return signals.received


def sweep(config: ConfigParser, args: Any) -> None:
    """Train all that is missing, then show what was found."""
    check_numbers(args)
    plan = make_plan(config, args)
    from optuna.exceptions import StorageInternalError

    from tools.groups import as_text
    from tools.study import Study, hidden, open_storage, reason_of
    from tools.sweep_table import Results
    from tools.work import Work, environments

    where = environments(args.jobs, args.nproc_per_trial, config["device"])
    folder = config.runs_dir / plan.name
    storage = args.storage or str(folder / "journal.log")
    name, mode = f"{config['name']}/{plan.name}", config["trainer"]["monitor"].partition(" ")[0]
    study = Study(open_storage(storage), name, mode, plan.search, config["seed"])
    study.begin(plan.setup, plan.name)
    study.n_trials = min((n for n in (plan.n_trials, args.trials) if n), default=20)
    if args.retry:
        study.retry()
    work = Work(plan, study, folder, storage, args.grace, args.nproc_per_trial)
    try:
        number = work_to_the_end(work, where, lambda: Results(plan, study))
    except (StorageInternalError, OSError) as error:
        reason = f"--storage {hidden(storage)}: {reason_of(error)}"
        raise RunError(f"{reason}; the same command goes on") from None
    results = Results(plan, study)
    results.write(folder)
    print(as_text(results.table()))
    if number:
        raise RunError("stopped by a signal; the same command goes on", 128 + number)
    print(f"{results.progress()}\n{folder / 'report.html'}")
    if results.n_failed:
        raise RunError("--retry takes the trials that have failed again", 1)


def main(argv: list[str] | None = None) -> None:
    """Read the command line, sweep."""
    parser = CommandLine(__doc__)
    add_arguments(parser)
    with exit_on_user_error():
        config = ConfigParser.from_args(parser, OPTIONS, argv)
        sweep(config, config.args)


if __name__ == "__main__":
    main()
