"""What the template costs on a GPU, and whether it is right there: `make gpu`.

`python benchmarks/gpu.py` takes under eight minutes, prints a table and writes it to
benchmarks/gpu.md. It needs torch and the project's own requirements alone, and no network: a baked
project of each starter is taken from build/gpu/<starter>/, where `python benchmarks/gpu.py --bake`
(with cookiecutter, on any machine) puts them. Lightning and Accelerate are measured where they are
installed.

Ratios are medians over turns in which the template and a bare loop train the same network on the
same batches, which are on the GPU already. Kernels are counted by torch's profiler, as the
difference between a long and a short epoch. On a machine without a GPU the parts that can run are
run on the CPU, to see that the script works: their numbers mean nothing.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ROOT / "build" / "gpu"
STARTERS = ("mnist", "minimal", "text", "tabular", "gan")
RESULTS = ROOT / "benchmarks" / "gpu.md"
TURNS, STEPS = 25, 100
TARGETS = {"host-bound": 1.05, "GPU-bound": 1.01, "kernels": 4, "memory": 1.02}


def bake():
    """A project of each starter in build/gpu; the only part that needs cookiecutter."""
    from cookiecutter.main import cookiecutter

    for starter in STARTERS:
        with TemporaryDirectory() as home:
            config = Path(home, "config.yaml")
            config.write_text(json.dumps({"cookiecutters_dir": home, "replay_dir": home}))
            answers = {"starter": starter, "project_name": starter, "size": "full"}
            options = {"config_file": str(config), "overwrite_if_exists": True}
            cookiecutter(
                str(ROOT), no_input=True, extra_context=answers, output_dir=str(PROJECTS), **options
            )


def device():
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def synchronize():
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Pair:
    """The same network, data and optimizer twice: trained by the project and by a bare loop."""

    def __init__(self, work, batch, n_batches, precision="fp32", compile=False):
        import torch

        from parse_config import ConfigParser
        from peers.work import LeNet, ResNet, Transformer
        from trainer import Trainer

        model_class = {"lenet": LeNet, "resnet": ResNet, "transformer": Transformer}[work]
        shape = {"lenet": (1, 28, 28), "resnet": (3, 64, 64), "transformer": (128,)}[work]
        make = torch.rand if work != "transformer" else lambda *s: torch.randint(0, 1000, s)
        self.batches = [
            (make(batch, *shape).to(device()), torch.randint(0, 10, (batch,)).to(device()))
            for _ in range(4)
        ] * (n_batches // 4)
        self.dtype = torch.bfloat16 if precision == "bf16" else None
        self.model = self.new(model_class)
        if compile:
            self.model.compile(**(compile if isinstance(compile, dict) else {}))
        self.optimizer = self.adam(self.model)
        self.folder = TemporaryDirectory()
        settings = {"save_dir": self.folder.name, "monitor": "off", "verbosity": 0}
        settings |= {"precision": precision, "compile": compile, "tensorboard": False}
        config = {"name": work, "arch": "x", "data_loader": "x", "optimizer": "x", "loss": "x"}
        config = ConfigParser(config | {"trainer": settings, "device": device().type})
        model = self.new(model_class)
        loss = torch.nn.functional.cross_entropy
        self.trainer = Trainer(
            model, loss, [], self.adam(model), config, device(), data_loader=self.batches
        )

    @staticmethod
    def new(model_class):
        import torch

        torch.manual_seed(0)
        return model_class().to(device())

    @staticmethod
    def adam(model):
        import torch

        return torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def ours(self, n):
        self.trainer.len_epoch = n
        self.trainer._train_epoch(1)

    def bare(self, n):
        import torch

        total = torch.zeros((), device=device())
        autocast = torch.autocast(device().type, self.dtype, enabled=self.dtype is not None)
        self.model.train()
        for data, target in self.batches[:n]:
            data, target = data.to(device()), target.to(device())
            self.optimizer.zero_grad()
            with autocast:
                loss = torch.nn.functional.cross_entropy(self.model(data), target)
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(target)
        return total.item()

    def ratio(self, turns=TURNS):
        """The median ratio of the times, and microseconds a step of both."""
        n, times = len(self.batches), []
        for run in (self.ours, self.bare):
            run(n)  # to warm up, and to compile
        for turn in range(turns):
            pair = {}
            for name in ("ours", "bare") if turn % 2 else ("bare", "ours"):
                synchronize()
                start = perf_counter()
                getattr(self, name)(n)
                synchronize()
                pair[name] = (perf_counter() - start) / n * 1e6
            times.append(pair)
        ratio = median(one["ours"] / one["bare"] for one in times)
        return ratio, *(median(one[name] for one in times) for name in ("ours", "bare"))


def part_speed(work, batch, precision, compile, n=STEPS, turns=TURNS):
    ratio, ours, bare = Pair(work, batch, n, precision, compile).ratio(turns)
    return f"{ratio:.3f} ({ours:,.0f} us a step, bare {bare:,.0f} us)", ratio


def host_eager():
    return part_speed("lenet", 128, "fp32", False)


def host_compiled():
    return part_speed("lenet", 128, "fp32", True)


def host_graphs():
    return part_speed("lenet", 128, "fp32", {"mode": "reduce-overhead"})


def gpu_resnet():
    return part_speed("resnet", 256, "bf16", True, n=40, turns=7)


def gpu_transformer():
    return part_speed("transformer", 128, "bf16", True, n=40, turns=7)


def kernels():
    """Launches a step, ours and bare: those of 80 steps, divided."""
    import torch

    pair, found = Pair("lenet", 128, STEPS), {}
    for name in ("ours", "bare"):
        counts = []
        for n in (20, STEPS):
            getattr(pair, name)(n)
            activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
            with torch.profiler.profile(activities=activities) as profile:
                getattr(pair, name)(n)
                synchronize()
            on_gpu = torch.autograd.DeviceType.CUDA
            counts.append(sum(event.device_type == on_gpu for event in profile.events()))
        found[name] = (counts[1] - counts[0]) / (STEPS - 20)
    more = found["ours"] - found["bare"]
    return f"{found['ours']:.1f} a step, bare {found['bare']:.1f}: {more:.1f} more", more


def peak(name):
    import torch

    pair = Pair("resnet", 256, 8, "bf16")
    if name == "bare":  # as if it were alone
        pair.trainer = None
    else:
        pair.model = pair.optimizer = None
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    getattr(pair, name)(8)
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 1.0


def memory():
    ours, bare = (float(in_process("peak", name)) for name in ("ours", "bare"))
    return f"{ours / bare:.3f} ({ours:,.0f} MB, bare {bare:,.0f} MB)", ours / bare


def saving():
    """How long training waits for a checkpoint of 576 MB on the GPU."""
    import torch

    from tools.background import BackgroundSaver

    weights = {str(i): torch.rand(1_000_000, device=device()) for i in range(48)}
    moments = {i: {"a": x + 0, "b": x + 1} for i, x in enumerate(weights.values())}
    state = {"state_dict": weights, "optimizer": {"state": moments, "param_groups": []}}
    saver, blocked, plain = BackgroundSaver(), [], []
    with TemporaryDirectory() as folder:
        for _ in range(5):
            synchronize()
            start = perf_counter()
            saver.save(state, Path(folder, "ours.pth"))
            blocked.append(perf_counter() - start)
            saver.wait()
            start = perf_counter()
            torch.save(state, Path(folder, "plain.pth"))
            plain.append(perf_counter() - start)
    first, later, save = blocked[0], median(blocked[1:]), median(plain[1:])
    text = f"{later * 1e3:.0f} ms (the first {first * 1e3:.0f} ms), torch.save {save * 1e3:.0f} ms"
    return f"{text}, 576 MB of pinned memory", later / save


def without_waiting(starter):
    """Steps of a starter in which anything that waits for the GPU is an error."""
    import warnings

    import torch

    from parse_config import ConfigParser, default_config
    from train import build_trainer

    class Done(Exception):
        pass

    with TemporaryDirectory() as folder:
        changes = {"trainer.save_dir": folder, "trainer.log_step": 10**6, "trainer.verbosity": 0}
        changes |= {"trainer.ema": 0.9, "trainer.tensorboard": False}
        if starter != "gan":
            changes["trainer.clip_grad_norm"] = 1.0
        if starter == "minimal":  # where the optimizer is not fused, each step waits
            changes["optimizer.args.fused"] = True
        trainer = build_trainer(ConfigParser.from_file(default_config(), changes))

        last = min(10, trainer.len_epoch - 1)  # the end of an epoch may wait

        def after_step():
            mode = {2: "error", last: "default"}.get(trainer.step)
            if mode and torch.cuda.is_available():
                with warnings.catch_warnings(action="ignore"):
                    torch.cuda.set_sync_debug_mode(mode)
            if trainer.step == last:
                raise Done

        trainer.asks_each_step = True
        trainer._save_or_stop_if_due = after_step
        try:
            trainer._train_epoch(1)
        except Done:
            return f"{last - 2} steps without waiting", 0
        except RuntimeError as error:
            return f"waits: {str(error).splitlines()[0]}", 1
    raise AssertionError("the epoch is longer")


def digest(path):
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    total = sha256()
    for weight in state["state_dict"].values():
        total.update(weight.contiguous().numpy().tobytes())
    return total.hexdigest()[:12]


def resume(deterministic):
    """Train, killed in the middle and resumed, beside a run that was left alone."""
    with TemporaryDirectory() as folder:
        changes = ["trainer.epochs=4", "trainer.save_every.steps=5", "trainer.report=false"]
        changes += [f"deterministic={deterministic}"]
        command = [sys.executable, "train.py", *changes]
        ends = {}
        for name in ("alone", "killed"):
            save_dir = Path(folder, name)
            run = [*command, f"trainer.save_dir={save_dir}"]
            if name == "killed":
                process = subprocess.Popen(run, stdout=subprocess.DEVNULL)
                while not list(save_dir.glob("*/*/last.pth")) and process.poll() is None:
                    pass
                process.send_signal(signal.SIGKILL)
                process.wait()
                run += ["-r", "auto"]
            subprocess.run(run, check=True, capture_output=True)
            [last] = save_dir.glob("*/*/last.pth")
            ends[name] = digest(last)
    same = ends["alone"] == ends["killed"]
    return "bit for bit the same" if same else "not the same bits", int(not same)


def resume_deterministic():
    return resume("true")


def resume_fast():
    return resume("false")[0], 0


def several(parallel):
    """A process for each GPU; of a single one, two processes that pass for two machines.

    NCCL refuses two processes of one host on the same GPU: NCCL_HOSTID tells it of two hosts.
    """
    import torch

    n = torch.cuda.device_count()
    with TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
        free.close()
        launch = [sys.executable, "-m", "torch.distributed.run"]
        if n > 1:
            agents = [[*launch, "--standalone", "--nproc-per-node", str(n)]]
        else:
            meet = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}"]
            agents = [[*launch, "--nnodes", "2", "--nproc-per-node", "1", *meet]] * 2
        changes = ["trainer.epochs=2", f"trainer.save_dir={folder}", f"parallel.type={parallel}"]
        started = []
        for i, agent in enumerate(agents):
            env = (
                os.environ | {"NCCL_DEBUG": "VERSION"} | ({} if n > 1 else {"NCCL_HOSTID": str(i)})
            )
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            command = [*agent, "train.py", *changes]
            started.append(subprocess.Popen(command, env=env, **pipes))
        with ThreadPoolExecutor(len(started)) as pool:
            ends = list(pool.map(lambda process: process.communicate()[0], started))
        lines = [line for end in ends for line in end.strip().splitlines()]
        (PROJECTS / f"{parallel}.log").write_text("\n".join(lines))
    said = [line for line in lines if line.startswith("epoch ")] or lines or ["no output"]
    backend = next((line for line in lines if "NCCL version" in line), "no NCCL")
    processes = f"{n} GPUs" if n > 1 else "2 processes"
    failed = any(process.returncode for process in started) or backend == "no NCCL"
    return f"{processes}, {backend[-24:]}: {' '.join(said[-1].split())[:70]}", int(failed)


def ddp():
    return several("ddp")


def fsdp():
    return several("fsdp")


def too_many():
    """One process more than there are GPUs ends in one line; the same on the CPU trains."""
    import torch

    n = torch.cuda.device_count() + 1
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    with TemporaryDirectory() as folder:
        run = [*launch, str(n), "train.py", "trainer.epochs=1", f"trainer.save_dir={folder}"]
        refused = subprocess.run(run, capture_output=True, text=True)
        on_cpu = subprocess.run([*run, "-d", "cpu"], capture_output=True, text=True)
    # Of the project's, as torchrun adds a traceback of its own
    lines = [one for one in refused.stderr.splitlines() if "GPU" in one or "/train.py" in one]
    text = f"{lines[0][:90] if lines else 'nothing is said'}; -d cpu: {on_cpu.returncode}"
    return text, int(len(lines) != 1 or not refused.returncode or bool(on_cpu.returncode))


def dead_worker():
    """A worker that is killed under pinned memory ends the run in one line."""
    loader = [f"data_loader.args.{one}" for one in ("num_workers=2", "pin_memory=true")]
    with TemporaryDirectory() as folder:
        changes = ["trainer.epochs=200", f"trainer.save_dir={folder}", *loader]
        process = subprocess.Popen(
            [sys.executable, "train.py", *changes],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while not list(Path(folder).glob("*/*/last.pth")) and process.poll() is None:
            sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        names = {one: Path(f"/proc/{one}/cmdline").read_text() for one in children}
        workers = [int(one) for one, name in names.items() if "train.py" in name]
        os.kill(workers[0], signal.SIGKILL)
        lines = process.communicate(timeout=60)[1].strip().splitlines()
    (PROJECTS / "dead_worker.log").write_text("\n".join(lines))
    said = f"{len(lines)} line(s), status {process.returncode}: {lines[-1][-70:] if lines else ''}"
    return said, int(len(lines) != 1 or process.returncode <= 0)


def whole(starter):
    """Trained, resumed by one epoch more, tested: three commands that print no warning."""
    with TemporaryDirectory() as folder:
        to = f"trainer.save_dir={folder}"
        steps = [
            ["train.py", "trainer.epochs=2", to],
            ["train.py", "-r", "auto", "trainer.epochs=3"],
        ]
        steps = [*steps, ["test.py", "-r", "auto"]]
        for step in steps:
            step += [to] if to not in step else []
            done = subprocess.run([sys.executable, *step], capture_output=True, text=True)
            if done.returncode or done.stderr:
                return f"{' '.join(step)[:40]}: {done.stderr.strip()[-90:]}", 1
    return " ".join(done.stdout.strip().splitlines()[-1].split())[-70:], 0


def too_few_classes():
    """A class that the model does not have is one line, with a check of its own and without."""
    said = []
    with TemporaryDirectory() as folder:
        project = shutil.copytree(".", Path(folder, "project"))
        for _ in range(2):
            run = [sys.executable, "train.py", "arch.args.num_classes=7"]
            done = subprocess.run(run, cwd=project, capture_output=True, text=True)
            said.append((done.returncode, len(done.stderr.strip().splitlines()), done.stderr))
            Path(project, "tools", "targets.py").unlink(missing_ok=True)
    (PROJECTS / "classes.log").write_text("\n".join(text for _, _, text in said))
    failed = any(status != 2 or n_lines != 1 for status, n_lines, _ in said)
    return said[-1][2].strip()[-70:], int(failed)


def elsewhere():
    """A checkpoint of the GPU, exported and evaluated on a CPU."""
    with TemporaryDirectory() as folder:
        short = ["trainer.epochs=1", f"trainer.save_dir={folder}"]
        subprocess.run([sys.executable, "train.py", *short], check=True, capture_output=True)
        [best] = Path(folder).glob("*/*/model_best.pth")
        steps = [["test.py", "-r", best, "-d", "cpu"]]
        if Path("export.py").exists():
            steps.append(["export.py", "-r", best, "--to", "torch.export", "-d", "cpu"])
        for step in steps:
            done = subprocess.run([sys.executable, *step], capture_output=True, text=True)
            if done.returncode:
                return f"{step[0]}: {done.stderr.strip().splitlines()[-1][:70]}", 1
    return " and ".join(step[0] for step in steps) + " on the CPU", 0


def tests():
    """The fast tests of the template's inside, which run in place."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "tests/project"]
    command += ["-p", "no:cacheprovider", "-p", "no:benchmark", "--durations=30"]
    if find_spec("xdist"):
        command += ["-n", str(min(12, os.cpu_count() or 1)), "--dist", "worksteal"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    (PROJECTS / "tests.log").write_text(done.stdout + done.stderr)
    return done.stdout.strip().splitlines()[-1].strip("= "), done.returncode


def peer(name):
    """Another trainer on the same batches, beside the bare loop in the same process."""
    import torch

    pair, times = Pair("lenet", 128, STEPS), []
    model = Pair.new(type(pair.model))
    if name == "lightning":
        import lightning

        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = model

            def training_step(self, batch, _):
                return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

            def configure_optimizers(self):
                return Pair.adam(self.net)

            def on_train_epoch_start(self):
                synchronize()
                times.append(perf_counter())

        off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        trainer = lightning.Trainer(max_epochs=TURNS + 2, **dict.fromkeys(off, False))
        trainer.fit(Module(), torch.utils.data.DataLoader(pair.batches, batch_size=None))
    else:
        from accelerate import Accelerator

        accelerator = Accelerator()
        net, optimizer = accelerator.prepare(model, Pair.adam(model))
        for _ in range(TURNS + 2):
            synchronize()
            times.append(perf_counter())
            for data, target in pair.batches:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(net(data), target)
                accelerator.backward(loss)
                optimizer.step()
    theirs = median(b - a for a, b in zip(times[1:], times[2:], strict=False)) / STEPS * 1e6
    _, _, bare = pair.ratio()
    return f"{theirs / bare:.3f} ({theirs:,.0f} us a step, bare {bare:,.0f} us)", 0


# What is shown, what is run, in which starter, and the target that its number is not to exceed
PARTS = [
    ("the fast tests of the project's inside", "tests", "mnist", 0),
    ("host-bound: LeNet, eager", "host_eager", "mnist", TARGETS["host-bound"]),
    ("host-bound: LeNet, compiled", "host_compiled", "mnist", TARGETS["host-bound"]),
    ("host-bound: LeNet, CUDA graphs", "host_graphs", "mnist", TARGETS["host-bound"]),
    ("GPU-bound: ResNet-18, bf16, compiled", "gpu_resnet", "mnist", TARGETS["GPU-bound"]),
    ("GPU-bound: transformer, bf16, compiled", "gpu_transformer", "mnist", TARGETS["GPU-bound"]),
    ("kernels: LeNet, eager", "kernels", "mnist", TARGETS["kernels"]),
    ("peak memory: ResNet-18, bf16", "memory", "mnist", TARGETS["memory"]),
    ("checkpoint: training waits", "saving", "mnist", 1),
    *((f"steps: {one}", f"without_waiting {one}", one, 0) for one in STARTERS),
    ("killed and resumed, deterministic", "resume_deterministic", "mnist", 0),
    ("killed and resumed, not deterministic", "resume_fast", "mnist", 0),
    ("DDP", "ddp", "mnist", 0),
    ("FSDP", "fsdp", "mnist", 0),
    *((f"trains, resumes, tests: {one}", f"whole {one}", one, 0) for one in STARTERS),
    ("a class too many in the data", "too_few_classes", "mnist", 0),
    ("more processes than GPUs", "too_many", "mnist", 0),
    ("a worker killed, with pinned memory", "dead_worker", "mnist", 0),
    ("checkpoint used elsewhere", "elsewhere", "mnist", 0),
    ("Lightning: LeNet, eager", "peer lightning", "mnist", 0),
    ("Accelerate: LeNet, eager", "peer accelerate", "mnist", 0),
]


TIMED = """host_eager host_compiled host_graphs gpu_resnet gpu_transformer kernels memory saving
peer""".split()


def in_process(*arguments, starter="mnist", limit=240):
    """What a part answers, run in a process of its own in the folder of a starter's project."""
    project = PROJECTS / starter
    paths = os.pathsep.join([str(project), str(ROOT / "benchmarks")])
    command = [sys.executable, __file__, "--part", *arguments]
    env = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, text=True, timeout=limit
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no output").splitlines()[-1][:100])
    return json.loads(done.stdout.splitlines()[-1])


def run_part(arguments):
    name, *values = arguments
    with redirect_stdout(sys.stderr):
        answer = globals()[name](*values)
    print(json.dumps(answer))


def machine():
    import torch

    lines = [f"torch {torch.__version__}, Python {platform.python_version()}"]
    if torch.cuda.is_available():
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = "unknown"
        if shutil.which(query[0]):
            said = subprocess.run(query, capture_output=True, text=True).stdout
            driver = "".join(said.splitlines()[:1])
        name = torch.cuda.get_device_name()
        return f"{torch.cuda.device_count()} x {name}, driver {driver}, {lines[0]}"
    return f"no GPU: run on the CPU, the numbers mean nothing; {lines[0]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bake", action="store_true", help="only make the projects in build/gpu")
    parser.add_argument(
        "--only", nargs="+", default=[], help="words of the parts to run; others stay as they were"
    )
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        return run_part(args.part)
    if args.bake or (not PROJECTS.exists() and find_spec("cookiecutter")):
        bake()
    if not PROJECTS.exists():
        sys.exit(f"{PROJECTS} is not there: python benchmarks/gpu.py --bake makes it")
    if args.bake:
        return
    print(machine(), flush=True)
    parts = [one for one in PARTS if not args.only or any(word in one[0] for word in args.only)]
    parts = [one for one in parts if not one[1].startswith("peer") or find_spec(one[1].split()[1])]
    start = monotonic()
    timed = [one for one in parts if one[1].split()[0] in TIMED]  # each has the machine for itself
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2 - 1)) as pool:
        others = [one for one in parts if one not in timed]
        rows = dict(pool.map(lambda part: answer(start, *part), others))
    rows |= dict(answer(start, *part) for part in timed)
    write(rows)


def write(rows):
    """Put these rows into benchmarks/gpu.md, in place of those of an earlier run there."""
    if (here := machine()).startswith("no GPU"):
        return
    text = RESULTS.read_text() if RESULTS.exists() else ""
    text = text if here in text else ""
    lines = {line.split(" | ")[0][2:]: line for line in text.splitlines() if line[:2] == "| "}
    lines |= {title: f"| {title} | {' | '.join(row)} |" for title, row in rows.items()}
    head = ["# On a GPU", "", f"`python benchmarks/gpu.py` on {here}.", ""]
    head += [
        "Ratios are medians of those within the turns, and times are medians by themselves.",
        "",
    ]
    table = ["| what | measured | target met |", "|---|---|---|"]
    table += [lines[part[0]] for part in PARTS if part[0] in lines]
    RESULTS.write_text("\n".join([*head, *table]) + "\n")


def answer(start, title, part, starter, target):
    """A row of the table, printed as soon as it is known."""
    try:
        text, number = in_process(*part.split(), starter=starter)
        verdict = "" if part.startswith("peer") else "yes" if number <= target else "NO"
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        text, verdict = str(error), "failed"
    print(f"{title:<40}{text}  {verdict}  [{monotonic() - start:.0f} s]", flush=True)
    return title, (text, verdict)


if __name__ == "__main__":
    main()
