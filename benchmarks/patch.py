"""Times learning an adversarial patch, ours against ART's: python benchmarks/patch.py

Both learn from the same photographs (the zoo's signs-cnn, its training data) with the same number
of steps, images a step, range of sizes and rotations, and the same step size of Adam, on two CPU
threads of one process. They take turns, three times; the median counts. Success is measured by us
on unseen photographs, the patches placed by our code and by ART's.
Writes results/patch-speed.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import warnings
from pathlib import Path

import torch
from torch import Tensor

from advlab import attacks, backend, data
from advlab.attacks.patch import circle
from advlab.data.files import write_atomically
from advlab.evaluation import patch_success
from advlab.models import load_model, predict
from advlab.provenance import provenance

RESULTS = Path(__file__).parent / "results"
AREA, ROTATION, BATCH, LR, SIZE = (0.05, 0.25), 20.0, 64, 0.1, 27
PASSES, IMAGES, JUDGED, TURNS = 6, 1024, 300, 3
TARGET = "limit 80"
JUDGED_AREAS = (0.1, 0.2)


def side(area: float) -> float:
    """The diameter of a disc of that area, as a fraction of the image's side: ART's scale."""
    return math.sqrt(area * 4 / math.pi)


def of_art(model, shape: tuple[int, ...], classes: int, passes: int):
    from art.attacks.evasion import AdversarialPatchPyTorch
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        model, torch.nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0)
    )
    return AdversarialPatchPyTorch(
        classifier,
        rotation_max=ROTATION,
        scale_min=side(AREA[0]),
        scale_max=side(AREA[1]),
        learning_rate=LR,
        max_iter=passes,
        batch_size=BATCH,
        patch_shape=(shape[0], SIZE, SIZE),
        patch_type="circle",
        optimizer="Adam",
        targeted=True,
        verbose=False,
    )


def placed_by_art(model, art, patch: attacks.Patch, x: Tensor, y: Tensor, area: float) -> float:
    """The success rate with ART's code for the places."""
    rows = (predict(model, x) == y) & (y != patch.target)
    seen = art.apply_patch(x[rows].numpy(), side(area), patch.pixels.numpy())
    answer = predict(model, torch.from_numpy(seen).float().clamp(0, 1))
    return (answer == patch.target).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four steps, once; writes nothing")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    data.import_torchvision()
    torch.set_num_threads(2)
    backend.device("cpu")
    backend.seed_everything(0)
    passes, turns = (1, 1) if options.quick else (PASSES, TURNS)
    model, found = load_model("signs-cnn"), data.load("signs")
    target = found.classes.index(TARGET)
    # ART is given no image of the target class either, and batches that are all full.
    count = 256 if options.quick else IMAGES
    rows = (found.train.y != target).nonzero().squeeze(1)[:count]
    x, y = found.train.x[rows], found.train.y[rows]
    unseen = [t[:JUDGED] for t in found.test]
    steps = passes * (len(x) // BATCH)

    def ours() -> attacks.Patch:
        attack = attacks.AdversarialPatch(
            target=target, area=AREA, rotation=ROTATION, size=SIZE, steps=steps, lr=LR,
            batch_size=BATCH,
        )  # fmt: skip
        return attack(model, x, y)

    def theirs() -> attacks.Patch:
        art = of_art(model, tuple(x.shape[1:]), len(found.classes), passes)
        wanted = torch.eye(len(found.classes))[torch.full_like(y, target)]
        pixels, _ = art.generate(x.numpy(), wanted.numpy())
        return attacks.Patch(torch.from_numpy(pixels).float().clamp(0, 1), circle(SIZE), target)

    ways = {"advlab": ours, "ART": theirs}
    seconds, patches = {name: [] for name in ways}, {}
    predict(model, x[:BATCH])
    for turn in range(turns):
        for name in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            with backend.Stopwatch() as watch:
                patches[name] = ways[name]()
            seconds[name].append(watch.seconds)
    art = of_art(model, tuple(x.shape[1:]), len(found.classes), passes)
    results = []
    for name, patch in patches.items():
        median = statistics.median(seconds[name])
        row = {"library": name, "seconds": round(median, 3)}
        row["steps a second"] = round(steps / median, 2)
        row["times ours"] = round(median / statistics.median(seconds["advlab"]), 2)
        for area in JUDGED_AREAS:
            score = patch_success(
                model, patch, *unseen, area=area, rotation=ROTATION, draws=3, seed=7
            )
            row[f"success at {area:.0%}"] = round(score.success, 4)
            row[f"success at {area:.0%}, placed by ART"] = round(
                placed_by_art(model, art, patch, *unseen, area), 4
            )
        results.append(row)
        print(json.dumps(row), flush=True)
    if options.quick:
        return
    report = {
        "command": "python benchmarks/patch.py",
        "model": "signs-cnn",
        "data": "signs",
        "target": TARGET,
        "images": len(x),
        "judged": JUDGED,
        "area": AREA,
        "rotation": ROTATION,
        "patch pixels": SIZE,
        "images a step": BATCH,
        "steps": steps,
        "lr": LR,
        "turns": turns,
        "made": provenance("cpu", ("torch", "adversarial-robustness-toolbox")),
        "rows": results,
    }
    write_atomically(RESULTS / "patch-speed.json", (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
