"""How time and memory grow with images and with steps: python benchmarks/scaling.py

Every attack, at a small setting, on 100, 1,000 and 10,000 images of the zoo's mnist-cnn, and with
its steps (or queries) doubled three times on 200 images. Each measurement is a process of its own,
on one thread, so that its peak memory is its own: what it took beyond a process that has loaded the
network and the images and answered one batch.
Writes results/scaling.json and results/scaling.png beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import resource
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from advlab import attacks, backend, data
from advlab.data.files import write_atomically
from advlab.models import load_model, predict
from advlab.viz.look import CYCLE, LINES, MARKERS, png

RESULTS = Path(__file__).parent / "results"
IMAGES = (100, 1_000, 10_000)
FACTORS = (1, 2, 4, 8)

# Small settings: what is asked is how the cost grows. The field that says how long an attack goes
# on is named beside it; on 200 images it is doubled.
EVERY = {
    "FGSM": (attacks.FGSM(eps=0.1), None),
    "PGD": (attacks.PGD(eps=0.1, steps=5), "steps"),
    "MI-FGSM": (attacks.MIFGSM(eps=0.1, steps=5), "steps"),
    "DeepFool": (attacks.DeepFool(steps=10), None),
    "C&W L2": (attacks.CWL2(steps=5, searches=1, c=1.0), "steps"),
    "EAD": (attacks.EAD(steps=5, searches=1, c=1.0), "steps"),
    "JSMA": (attacks.JSMA(gamma=0.01), "gamma"),
    "APGD": (attacks.APGD(eps=0.05, steps=5), "steps"),
    "FAB-T": (attacks.FABT(steps=1, targets=1), "steps"),
    "Square": (attacks.Square(eps=0.05, queries=20), "queries"),
    "SPSA": (attacks.SPSA(eps=0.05, queries=20, samples=4), "queries"),
    "Boundary": (attacks.Boundary(queries=40), "queries"),
    "HopSkipJump": (attacks.HopSkipJump(queries=40), "queries"),
}


def digits(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The embedded 5,000 digits, and the same moved by a pixel: 10,000 different images."""
    split = data.load("mnist5k")
    x = torch.cat([split.test[0], split.train[0]])
    y = torch.cat([split.test[1], split.train[1]])
    return torch.cat([x, x.roll(1, 3)])[:count], torch.cat([y, y])[:count]


def peak() -> float:
    """The most memory that this process has held, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(name: str, count: int, factor: int) -> dict:
    """Seconds, and MiB beyond what was held before."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    backend.device("cpu")
    attack, length = EVERY[name]
    if factor > 1:
        attack = dataclasses.replace(attack, **{length: factor * getattr(attack, length)})
    model = load_model("mnist-cnn")
    x, y = digits(count)
    predict(model, x[:128])
    attack(model, x[:8], y[:8])  # the first call builds kernels
    before = peak()
    with backend.Stopwatch() as watch:
        attack(model, x, y)
    return {
        "attack": name,
        "setting": str(attack),
        "images": count,
        "factor": factor,
        "seconds": round(watch.seconds, 3),
        "MiB": round(peak() - before, 1),
        "MiB of images": round(x.numel() * 4 / 2**20, 1),
    }


def in_own_process(*arguments: object) -> dict:
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def exponent(rows: list[dict], of: str) -> float:
    """The slope of log seconds over log size: 1 is linear. From the two largest sizes."""
    first, last = rows[-2], rows[-1]
    return math.log(last["seconds"] / first["seconds"]) / math.log(last[of] / first[of])


def plot(rows: list[dict]) -> Figure:
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    views = (("images", "seconds"), ("factor", "seconds"), ("images", "MiB"))
    titles = ("time over images", "time over steps or queries", "memory over images")
    for ax, (across, up), title in zip(figure.subplots(1, 3), views, titles, strict=True):
        for i, name in enumerate(EVERY):
            line = [r for r in rows if r["attack"] == name and r["sweep"] == across]
            if line:
                style = {
                    "color": CYCLE[i % len(CYCLE)],
                    "marker": MARKERS[i % len(MARKERS)],
                    "ls": LINES[(i // len(CYCLE)) % len(LINES)],
                }
                ax.plot([r[across] for r in line], [r[up] for r in line], label=name, **style)
        ax.set(xscale="log", yscale="linear" if up == "MiB" else "log", title=title)
        ax.set(xlabel="steps or queries, × the first" if across == "factor" else across)
        ax.set(ylabel="MiB beyond the start" if up == "MiB" else "seconds")
        ax.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("NAME", "IMAGES", "FACTOR"))
    parser.add_argument("--attack", action="append", choices=list(EVERY), help="only this one")
    options = parser.parse_args()
    if options.one:
        name, count, factor = options.one
        print(json.dumps(measure(name, int(count), int(factor))))
        return
    names = options.attack or list(EVERY)
    work = [(name, count, 1, "images") for name in names for count in IMAGES]
    work += [
        (name, 200, factor, "factor") for name in names if EVERY[name][1] for factor in FACTORS
    ]
    # A thread for each of two processes at a time, the longest first.
    order = sorted(work, key=lambda job: -job[1] * job[2])
    with ThreadPoolExecutor(2) as pool:
        found = list(tqdm(pool.map(lambda job: in_own_process(*job[:3]), order), total=len(order)))
    made = dict(zip(order, found, strict=True))
    rows = [made[job] | {"sweep": job[3]} for job in work]
    slopes = {
        f"{name}, over {sweep}": round(exponent(chosen, sweep), 2)
        for name in EVERY
        for sweep in ("images", "factor")
        if (chosen := [r for r in rows if r["attack"] == name and r["sweep"] == sweep])
    }
    report = {
        "command": "python benchmarks/scaling.py",
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "threads": 1,
        "exponents": slopes,
        "rows": rows,
    }
    write_atomically(RESULTS / "scaling.json", (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(RESULTS / "scaling.png", png(plot(rows)))
    for name, slope in slopes.items():
        print(f"{name:28s} seconds ~ size^{slope}")


if __name__ == "__main__":
    main()
