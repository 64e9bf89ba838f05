import atexit
import ctypes
import faulthandler
import fcntl
import multiprocessing
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import mkdtemp
from types import ModuleType

if sys.version_info >= (3, 11):
    import tomllib  # noqa: F401
else:
    import tomli as tomllib  # noqa: F401 (pytest brings it)

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "{{cookiecutter.project_name}}"
OF_TESTS = (ROOT, PROJECT, ROOT / "benchmarks", ROOT / "tests", ROOT / "tests" / "project")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

# No bytecode, so that the files of a project are those that it wrote on purpose; one thread, since
# the sums of two come out differently from those of one, and small models are slower with two
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # `make` in a test is no part of `make test`
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
ENVIRONMENT |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
ENVIRONMENT |= {"PYTHONFAULTHANDLER": "1"}  # a process that is aborted says where it was
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
PDEATHSIG = 1  # of Linux's prctl
COPIED = ("-c", "-m", "-W")  # options of Python that `run_main` knows
TIME_LIMIT = 600  # seconds for a test: one that hangs costs no more


def python(*arguments, cwd=None, env=None, **options):
    """Run Python as a user would; the finished process, with output and errors as text.

    Where nothing else is asked for, it is a copy of a process that has torch, seconds sooner.
    """
    arguments = [*map(str, arguments)]
    env = ENVIRONMENT if env is None else env
    if not options and (arguments[0] in COPIED or arguments[0].endswith(".py")):
        process = Copy(arguments, cwd, env)
        output = process.communicate()
        return CompletedProcess(arguments, process.returncode, *output)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        encoding="utf-8",
        **options,
    )


class Copy:
    """A process of Python like one of `subprocess.Popen`, but a copy of one that has torch."""

    def __init__(self, arguments, cwd=None, env=None, before=None):
        self.folder = Path(mkdtemp())
        self.files = [self.folder / name for name in ("stdout", "stderr")]
        env = ENVIRONMENT if env is None else env
        todo = (cwd or os.getcwd(), [*map(str, arguments)], *self.files, env, run_main, before)
        os.environ["OMP_NUM_THREADS"] = "1"
        self.process = FORKSERVER.Process(target=run_script, args=todo)
        self.process.start()
        self.pid = self.process.pid

    def poll(self):
        """The status; None while it lives."""
        return self.process.exitcode

    @property
    def returncode(self):
        return self.process.exitcode

    def kill(self):
        self.process.kill()

    def communicate(self, timeout=None):
        """Wait for its end; what it has printed, and its errors."""
        self.process.join(timeout)
        if self.process.is_alive():
            raise TimeoutError(f"{timeout} seconds are over")
        texts = tuple(x.read_text("utf-8") if x.exists() else "" for x in self.files)
        shutil.rmtree(self.folder)
        return texts


def once(folder, make):
    """The folder, with what `make` writes into it for the first of all workers that comes here."""
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (done := folder.with_name(f"{folder.name}.done")).exists():
            return folder
        make(folder)
        done.touch()
    return folder


def succeed(*arguments, cwd):
    """The output of a run of Python that has to succeed."""
    done = python(*arguments, cwd=cwd)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def children_of(pid):
    """A process's children and theirs; torchrun starts them in sessions of their own."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            for child in map(int, path.read_text().split()):
                found += [child, *children_of(child)]
    return found


def end_with_stacks(pids):
    """End processes, in this order; those of Python write on standard error where they were."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGABRT)
        until = time.monotonic() + 10
        while is_alive(pid) and time.monotonic() < until:  # two would write at the same time
            time.sleep(0.1)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_alive(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@contextmanager
def time_limit(seconds, more=60):
    """After so many seconds what was started inside is ended, and whoever waits for it goes on.

    If that does not help, TimeoutError is raised after `more` seconds.
    """
    before = set(children_of(os.getpid()))

    def end(*_):
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(more)
        servers = {forkserver._forkserver._forkserver_pid, resource_tracker._resource_tracker._pid}
        # A parent comes first, as torchrun ends all processes where one has ended
        end_with_stacks([x for x in children_of(os.getpid()) if x not in before | servers])

    def give_up(*_):
        raise TimeoutError(f"{seconds} seconds are over")

    handler = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def files(folder):
    """The paths of all files under a folder, relative to it."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def contents(project):
    """What each file holds, by its path."""
    return {name: (project / name).read_bytes() for name in files(project)}


def without_command(found):
    """The README names the template as it was named on the command line."""
    readme = re.sub(rb"^cookiecutter .*$", b"", found["README.md"], flags=re.MULTILINE)
    return found | {"README.md": readme}


def interpreter(version):
    """A Python of a version such as "3.10"; None where there is none that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = [shutil.which(f"python{version}"), *pyenv.glob(f"versions/{version}.*/bin/python")]
    runs = [
        x for x in found if x and not subprocess.run([x, "-c", ""], capture_output=True).returncode
    ]
    return str(runs[0]) if runs else None


PRELOADED = ["torch._dynamo", "torch.utils.tensorboard", "torch.distributed.checkpoint.state_dict"]
PRELOADED += ["matplotlib.figure", "matplotlib.backends.backend_agg"]
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(PRELOADED)


def run_script(
    folder, arguments, output, errors=None, environment=ENVIRONMENT, run=None, before=None
):
    """Run a script in this process, which ends with it; `output` takes the errors, too.

    The process is the first of its group, so that it can be killed with all that it starts.
    """
    os.setsid()
    for number, path in ((1, output), (2, errors or output)):
        with path.open("a", encoding="utf-8") as file:
            os.dup2(file.fileno(), number)
    faulthandler.enable(2)
    multiprocessing.set_start_method(None, force=True)  # it has that of this process
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    multiprocessing.process.ORIGINAL_DIR = str(folder)
    sys.dont_write_bytecode = True
    sys.path[:] = [one for one in sys.path if one not in map(str, OF_TESTS)]
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if before is not None:
        before()
    instantiator = sys.modules.get("torch.distributed.nn.jit.instantiator")
    if hasattr(instantiator, "_TEMP_DIR"):  # torch 2.6 makes it at its import, which is the
        instantiator._TEMP_DIR._finalizer.detach()  # copied process's: a script may not have it
    (run or run_main)(*arguments)


def run_main(what, *arguments):
    """What `python what *arguments` does, for a script or an option."""
    if what == "-W":
        sys.warnoptions.append(arguments[0])
        warnings.simplefilter(arguments[0])
        return run_main(*arguments[1:])
    if what == "-m" and arguments[0] == "torch.distributed.run":
        return run_agent(*arguments[1:])
    folder = "" if what in COPIED else os.path.dirname(what)
    sys.path.insert(0, os.path.abspath(folder))
    sys.argv = [what, *arguments]
    try:
        if what == "-c":
            sys.argv.pop(1)
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(arguments[0], "<string>", "exec"), main.__dict__)
        elif what == "-m":
            sys.argv.pop(0)
            if arguments[0] == "pytest":
                start_copies()
            runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(what, run_name="__main__")
    finally:
        atexit._run_exitfuncs()


def start_copies():
    """Python that tests of this process, a copy, start are copies, too."""
    forkserver._forkserver.ensure_running = lambda: None  # it runs, as a parent of this process

    def run(command, of_python=subprocess.run, cwd=None, **options):
        if command[0] != sys.executable or options != {"capture_output": True, "text": True}:
            return of_python(command, cwd=cwd, **options)
        sys.path.append(os.path.dirname(__file__))  # to find this module
        try:
            return python(*command[1:], cwd=cwd, env=dict(os.environ))
        finally:
            sys.path.pop()

    subprocess.run = run


def run_agent(*arguments):
    """What torchrun does, but that its processes are copies of this one."""
    from torch import cuda
    from torch.distributed import run

    if cuda.is_available():  # to ask begins CUDA here, and copies could not use it
        return run.main(arguments)

    def with_copies(args, of_torch=run.config_from_args):
        config, _, _ = of_torch(args)
        config.start_method = "fork"
        return config, run_rank, [args.training_script, *args.training_script_args]

    run.config_from_args = with_copies
    run.main(arguments)


def run_rank(*arguments):
    """A script with the signal handlers of a fresh Python, in place of the agent's."""
    ctypes.CDLL(None).prctl(PDEATHSIG, 0)  # an agent that ends tells no process of torchrun's
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    try:
        run_main(*arguments)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
