"""Times our attacks against ART, Foolbox and torchattacks: python benchmarks/peers.py

One run compares them on the same network (the zoo's mnist-cnn), the same test images (those that
the network has right; their number stands in the table), labels and budget, on two CPU threads.
The libraries take turns, three times; the median counts.
Each peer is called as its users call it (``default``: all images at once, or the batch size that
it comes with) and, to be fair to its code, in batches of our size (``batched``).
Writes results/peers.json and results/peers.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import statistics
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pkgutil import iter_modules

import contestants
import torch
from contestants import Contest, Run
from torch import nn

from advlab import backend, data, threat
from advlab.data.files import write_atomically
from advlab.models import load_model, predict
from advlab.provenance import processor

RESULTS = Path(__file__).parent / "results"


def everything(model: nn.Module) -> dict[str, Contest]:
    """The contests of all files of the folder contestants, by name."""
    found = {}
    for family in sorted(module.name for module in iter_modules(contestants.__path__)):
        found |= import_module(f"contestants.{family}").contests(model)
    return found


def batched(run: Run, size: int) -> Run:
    return lambda x, y: torch.cat([run(*pair) for pair in zip(x.split(size), y.split(size))])


def compare(name: str, contest: Contest, model, x, y, repeats: int) -> list[dict]:
    """Rows of the table for one attack: seconds are medians over turns taken in order."""
    size = backend.BATCH_SIZE["cpu"]
    x, truth = x[: contest.images], y[: contest.images]
    y = (truth + 1) % 10 if contest.targets else truth
    ways = {}
    for library, run in contest.runs.items():
        ways[library, "default"] = run
        if not library.startswith("advlab") and len(x) > size:  # else both are the same
            ways[library, "batched"] = batched(run, size)
    seconds = {way: [] for way in ways}
    found = {}
    for run in ways.values():
        run(x[:8], y[:8])  # the first call builds kernels and caches
    for turn in range(repeats):
        order = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
        for way in order:
            with backend.Stopwatch() as watch:
                found[way] = ways[way](x, y)
            seconds[way].append(watch.seconds)
    rows = []
    for library in contest.runs:
        times = {w: statistics.median(seconds[library, w]) for lib, w in ways if lib == library}
        fastest = min(times, key=times.get)
        x_adv = found[library, fastest].detach().clamp(0, 1)  # some leave the box by a rounding
        length = threat.size(x_adv - x, contest.norm)
        answer = predict(model, x_adv)
        fooled = answer == y if contest.targets else answer != y
        reached = length[fooled] if fooled.any() else torch.tensor([torch.nan])
        rows.append(
            {
                "attack": name,
                "library": library,
                "seconds": round(times[fastest], 3),
                "seconds_by_call": {w: round(t, 3) for w, t in times.items()},
                "success": round(fooled.double().mean().item(), 4),
                "norm": contest.norm,
                "mean_distortion": round(reached.mean().item(), 4),
                "median_distortion": round(reached.median().item(), 4),
                "images": len(x),
                "budget": contest.budget,
            }
        )
    alone = [row for row in rows if row["library"] == "advlab, early_stop"]
    if not alone:
        return with_ratios(rows)
    # The same runs once more, beside ours that asks for success alone: no peer has that.
    peers = [row for row in rows if not row["library"].startswith("advlab")]
    others = [{**row, "attack": f"{name}, success alone"} for row in alone + peers]
    return with_ratios([row for row in rows if row not in alone]) + with_ratios(others)


def with_ratios(rows: list[dict]) -> list[dict]:
    """Each row with its seconds as multiples of the first row's, which is ours."""
    ours = rows[0]["seconds"]
    for row in rows:
        row["times_ours"] = {w: round(t / ours, 2) for w, t in row["seconds_by_call"].items()}
    return rows


def markdown(report: dict) -> str:
    head = (
        "| attack | images | library | s, default | s, batched | × ours, default "
        "| × ours, batched | success | norm | mean size | median size |"
    )
    lines = [head, "|---|---:|---|" + "---:|" * 5 + "---|" + "---:|" * 2]
    for r in report["rows"]:
        calls, ratio = r["seconds_by_call"], r["times_ours"]
        by_hand = f"{calls['batched']:.3f}" if "batched" in calls else ""
        by_hand_ratio = f"{ratio['batched']:.2f}" if "batched" in ratio else ""
        lines.append(
            f"| {r['attack']} | {r['images']} | {r['library']} | {calls['default']:.3f} "
            f"| {by_hand} | {ratio['default']:.2f} | {by_hand_ratio} | {r['success']:.1%} "
            f"| {r['norm']} | {r['mean_distortion']:.3f} | {r['median_distortion']:.3f} |"
        )
    budgets = dict.fromkeys((r["attack"], r["budget"]) for r in report["rows"] if r["budget"])
    lines += ["", *(f"- {attack}: {budget}" for attack, budget in budgets), ""]
    made = {key: value for key, value in report.items() if key != "rows"}
    made["versions"] = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    return "\n".join(lines) + "\n".join(f"- {key}: {value}" for key, value in made.items()) + "\n"


def write(rows: list[dict], order: list[str], repeats: int) -> None:
    """Both files anew, with the rows of attacks that were not run this time as they were."""
    path = RESULTS / "peers.json"
    run = {row["attack"].split(",")[0] for row in rows}
    kept = json.loads(path.read_text())["rows"] if path.exists() else []
    kept = [row for row in kept if "images" in row and row["attack"].split(",")[0] not in run]
    place = {name: i for i, name in enumerate(order)}
    rows = sorted(kept + rows, key=lambda row: place.get(row["attack"].split(",")[0], len(order)))
    libraries = ("torch", "adversarial-robustness-toolbox", "foolbox", "torchattacks")
    report = {
        "command": "python benchmarks/peers.py",
        "model": "mnist-cnn",
        "data": "mnist5k, test, the images that the model has right",
        "repeats": repeats,
        "batch size": backend.BATCH_SIZE["cpu"],
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in libraries},
        "seed": 0,
        "date": datetime.date.today().isoformat(),
        "rows": rows,
    }
    write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(RESULTS / "peers.md", markdown(report).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 images, once; writes nothing")
    parser.add_argument("--attack", action="append", help="only this one, the other rows stay")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    data.import_torchvision()
    torch.set_num_threads(2)
    backend.device("cpu")
    backend.seed_everything(0)
    model = load_model("mnist-cnn")
    x, y = data.load("mnist5k").test
    count, repeats = (100, 1) if options.quick else (1000, 3)
    right = predict(model, x) == y
    x, y = x[right][:count], y[right][:count]
    contests = everything(model)
    unknown = set(options.attack or []) - set(contests)
    if unknown:
        parser.error(f"--attack: found {unknown.pop()!r}, expected one of {', '.join(contests)}")
    for name in options.attack or contests:
        rows = compare(name, contests[name], model, x, y, repeats)
        for row in rows:
            print(
                f"{row['attack']:20s} {row['library']:20s} {row['seconds']:8.3f} s "
                f"{row['times_ours']['default']:6.2f} x default "
                f"{row['times_ours'].get('batched', 1.0):6.2f} x batched  "
                f"success {row['success']:6.1%}  "
                f"mean {row['mean_distortion']:.3f}  median {row['median_distortion']:.3f}",
                flush=True,
            )
        if not options.quick:  # what is measured is not lost
            write(rows, list(contests), repeats)


if __name__ == "__main__":
    main()
