"""Times our attacks against ART, Foolbox and torchattacks: python benchmarks/peers.py

One run compares them on the same network (the zoo's mnist-cnn), the same 1,000 test images,
labels and budget, on two CPU threads. The libraries take turns, three times; the median counts.
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
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from advlab import attacks, backend, data, threat
from advlab.data.files import write_atomically
from advlab.models import load_model, predict

RESULTS = Path(__file__).parent / "results"
EPS, STEPS, ALPHA = 0.3, 40, 2.5 * 0.3 / 40
EPS2, EPS1 = 2.0, 10.0

Run = Callable[[Tensor, Tensor], Tensor]


def foolbox(model: nn.Module, attack, eps: float) -> Run:
    import foolbox as fb

    wrapped = fb.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return lambda x, y: attack(wrapped, x, y, epsilons=eps)[1]


def art(model: nn.Module, name: str, **settings) -> Run:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        model, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0)
    )
    attack = getattr(evasion, name)(classifier, **settings)
    return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def contestants(model: nn.Module) -> dict[str, dict[str, Run]]:
    """For each attack: ours first, then each peer's, as functions of images and labels."""
    import foolbox as fb
    import torchattacks as ta

    def ours(attack) -> Run:
        return lambda x, y: attack(model, x, y)

    def iterated(eps, alpha):
        return {"eps": eps, "eps_step": alpha, "max_iter": STEPS, "verbose": False}

    step = {"steps": STEPS, "random_start": True}
    alpha2, alpha1 = 2.5 * EPS2 / STEPS, 2.5 * EPS1 / STEPS
    pgd = {
        "Foolbox": foolbox(model, fb.attacks.LinfPGD(abs_stepsize=ALPHA, **step), EPS),
        "torchattacks": ta.PGD(model, eps=EPS, alpha=ALPHA, steps=STEPS),
        "ART": art(model, "ProjectedGradientDescent", num_random_init=1, **iterated(EPS, ALPHA)),
    }
    return {
        "FGSM": {
            "advlab": ours(attacks.FGSM(eps=EPS)),
            "Foolbox": foolbox(model, fb.attacks.LinfFastGradientAttack(), EPS),
            "torchattacks": ta.FGSM(model, eps=EPS),
            "ART": art(model, "FastGradientMethod", eps=EPS),
        },
        "RFGSM": {
            "advlab": ours(attacks.RFGSM(eps=EPS)),
            "torchattacks": ta.RFGSM(model, eps=EPS, alpha=EPS / 2, steps=1),
        },
        "BIM-b": {
            "advlab": ours(attacks.BIM(eps=EPS, alpha=EPS / 10, steps=10)),
            "Foolbox": foolbox(
                model,
                fb.attacks.LinfBasicIterativeAttack(
                    abs_stepsize=EPS / 10, steps=10, random_start=False
                ),
                EPS,
            ),
            "torchattacks": ta.BIM(model, eps=EPS, alpha=EPS / 10, steps=10),
            "ART": art(
                model,
                "BasicIterativeMethod",
                **(iterated(EPS, EPS / 10) | {"max_iter": 10}),
            ),
        },
        "PGD": {
            "advlab": ours(attacks.PGD(eps=EPS, steps=STEPS)),
            "advlab, early_stop": ours(attacks.PGD(eps=EPS, steps=STEPS, early_stop=True)),
            **pgd,
        },
        "PGD L2": {
            "advlab": ours(attacks.PGD(eps=EPS2, steps=STEPS, norm="L2")),
            "Foolbox": foolbox(model, fb.attacks.L2PGD(abs_stepsize=alpha2, **step), EPS2),
            "torchattacks": ta.PGDL2(model, eps=EPS2, alpha=alpha2, steps=STEPS),
            "ART": art(
                model,
                "ProjectedGradientDescent",
                norm=2,
                num_random_init=1,
                **iterated(EPS2, alpha2),
            ),
        },
        "PGD L1": {
            "advlab": ours(attacks.PGD(eps=EPS1, steps=STEPS, norm="L1")),
            # ART's L1 projection takes minutes; tests/peers compares its strength.
            "Foolbox": foolbox(model, fb.attacks.L1PGD(abs_stepsize=alpha1, **step), EPS1),
        },
    }


NORM = {"PGD L2": "L2", "PGD L1": "L1"}


def batched(run: Run, size: int) -> Run:
    return lambda x, y: torch.cat([run(*pair) for pair in zip(x.split(size), y.split(size))])


def compare(name: str, runs: dict[str, Run], model, x, y, repeats: int) -> list[dict]:
    """Rows of the table for one attack: seconds are medians over turns taken in order."""
    size = backend.BATCH_SIZE["cpu"]
    ways = {}
    for library, run in runs.items():
        ways[library, "default"] = run
        if not library.startswith("advlab"):
            ways[library, "batched"] = batched(run, size)
    seconds = {way: [] for way in ways}
    found = {}
    for run in ways.values():
        run(x[:size], y[:size])  # the first call builds kernels and caches
    for turn in range(repeats):
        order = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
        for way in order:
            with backend.Stopwatch() as watch:
                found[way] = ways[way](x, y)
            seconds[way].append(watch.seconds)
    rows = []
    for library in runs:
        times = {w: statistics.median(seconds[library, w]) for lib, w in ways if lib == library}
        fastest = min(times, key=times.get)
        x_adv = found[library, fastest].detach()
        length = threat.size(x_adv - x, NORM.get(name, "Linf"))
        wrong = predict(model, x_adv) != y
        rows.append(
            {
                "attack": name,
                "library": library,
                "seconds": round(times[fastest], 3),
                "seconds_by_call": {w: round(t, 3) for w, t in times.items()},
                "success": round(wrong.double().mean().item(), 4),
                "mean_distortion": round(length.mean().item(), 4),
                "median_distortion": round(length.median().item(), 4),
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


def processor() -> str:
    """The model name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def markdown(report: dict) -> str:
    head = (
        "| attack | library | s, default | s, batched | × ours, default | × ours, batched "
        "| success | mean size | median size |"
    )
    lines = [head, "|---|---|" + "---:|" * 7]
    for r in report["rows"]:
        calls, ratio = r["seconds_by_call"], r["times_ours"]
        lines.append(
            f"| {r['attack']} | {r['library']} | {calls['default']:.3f} "
            f"| {calls.get('batched', calls['default']):.3f} | {ratio['default']:.2f} "
            f"| {ratio.get('batched', ratio['default']):.2f} "
            f"| {r['success']:.1%} | {r['mean_distortion']:.3f} | {r['median_distortion']:.3f} |"
        )
    made = {key: value for key, value in report.items() if key != "rows"}
    made["versions"] = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    note = "\n".join(f"- {key}: {value}" for key, value in made.items())
    return "\n".join(lines) + f"\n\n{note}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 images, once; writes nothing")
    parser.add_argument("--attack", action="append", help="only this one; writes nothing")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    data.import_torchvision()
    torch.set_num_threads(2)
    backend.device("cpu")
    backend.seed_everything(0)
    model = load_model("mnist-cnn")
    x, y = data.load("mnist5k").test
    count, repeats = (100, 1) if options.quick else (1000, 3)
    x, y = x[:count], y[:count]
    everything = contestants(model)
    unknown = set(options.attack or []) - set(everything)
    if unknown:
        parser.error(f"--attack: found {unknown.pop()!r}, expected one of {', '.join(everything)}")
    rows = []
    for name in options.attack or everything:
        found = compare(name, everything[name], model, x, y, repeats)
        rows += found
        for row in found:
            print(
                f"{row['attack']:20s} {row['library']:20s} {row['seconds']:8.3f} s "
                f"{row['times_ours']['default']:6.2f} x default "
                f"{row['times_ours'].get('batched', 1.0):6.2f} x batched  "
                f"success {row['success']:6.1%}  "
                f"mean {row['mean_distortion']:.3f}  median {row['median_distortion']:.3f}",
                flush=True,
            )
    if options.quick or options.attack:
        return
    libraries = ("torch", "adversarial-robustness-toolbox", "foolbox", "torchattacks")
    report = {
        "command": "python benchmarks/peers.py",
        "model": "mnist-cnn",
        "data": "mnist5k, test",
        "images": count,
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
    write_atomically(RESULTS / "peers.json", (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(RESULTS / "peers.md", markdown(report).encode())


if __name__ == "__main__":
    main()
