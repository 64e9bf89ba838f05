"""Train each starter with its default config, with one process and with two; print what comes out.

python scripts/digest_weights.py                     a digest of the final weights of each run
python scripts/digest_weights.py --save FILE         the same, kept in FILE
python scripts/digest_weights.py --compare FILE      the same, beside those in FILE
python scripts/digest_weights.py minimal             of this starter alone
python scripts/digest_weights.py --processes 1       without those of two processes

The bits of a sum depend on the processor, so compare on one machine only. Use it before and after a
change of the loop that is to change no weight.
"""

import argparse
import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

ROOT = Path(__file__).resolve().parent.parent
STARTERS = ("mnist", "minimal", "text", "tabular", "gan")


def bake(starter, folder):
    command = [sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input", "--output-dir"]
    subprocess.run([*command, folder, f"starter={starter}"], check=True, capture_output=True)
    [project] = Path(folder).iterdir()
    return project


def digest_of(path):
    """A short text that changes with any bit of the weights in a checkpoint."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    digest = sha256()
    for name, weight in sorted(state["state_dict"].items()):
        digest.update(name.encode() + weight.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def train(project, n_processes):
    """The digest after a training with the default config, or the line that it ended with."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes)]
    command = [sys.executable, *launch * (n_processes > 1), "train.py", "-c", "config.json"]
    save_dir = project / f"saved{n_processes}"
    done = subprocess.run(
        [*command, f"trainer.save_dir={save_dir}", "trainer.report=false"],
        cwd=project,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return "failed: " + next((x for x in done.stderr.splitlines() if x.strip()), "")
    [last] = save_dir.glob("*/*/last.pth")
    return digest_of(last)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("starters", nargs="*", metavar="STARTER", help="of these alone")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--compare", type=Path)
    args = parser.parse_args()
    before = json.loads(args.compare.read_text()) if args.compare else {}
    found = {}
    for starter in args.starters or STARTERS:
        with TemporaryDirectory() as folder:
            project = bake(starter, folder)
            for n_processes in args.processes:
                name = f"{starter}, {n_processes} process{'es' * (n_processes > 1)}"
                found[name] = train(project, n_processes)
                verdict = {None: "", found[name]: "  same"}.get(before.get(name), "  DIFFERENT")
                print(f"{name:<24}{found[name]}{verdict}", flush=True)
    if args.save:
        args.save.write_text(json.dumps(found, indent=4) + "\n")


if __name__ == "__main__":
    main()
