"""Times training, ours against a loop by hand and ART's trainers: python benchmarks/training.py

All start from the same weights and learn from the same images (mnist5k), with the same network,
batch size, optimizer, step size, budget and number of steps, on two CPU threads of one process.
They take turns, three times; a ratio is the median of the ratios of the turns. The loops by hand
are the fewest lines of PyTorch that do the work. ART's attack works on the whole batch, where its
default would be 32 images. Accuracy is measured by us, natural and under PGD, on test images.
Writes results/training-speed.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlab import attacks, backend, data
from advlab.data.files import write_atomically
from advlab.defenses import FastTraining, FGSMMix, KurakinMix, PGDTraining
from advlab.models import CNN, accuracy
from advlab.provenance import provenance
from advlab.training import CrossEntropy, Objective, fit

RESULTS = Path(__file__).parent / "results"
EPS, STEPS, ALPHA = 0.1, 10, 0.025
BATCH, LR, EPOCHS, TURNS, JUDGED = 64, 1e-3, 1, 3, 500
# What we train with. ART's name for the same work stands in ``of_art``, the loop in ``by_hand``.
WAYS: dict[str, Objective] = {
    "plain": CrossEntropy(),
    "FGSM mix": FGSMMix(eps=EPS),
    "FGSM, half of each batch": KurakinMix(eps=EPS, lam=1.0, label="true"),
    "fast": FastTraining(eps=EPS),
    "PGD": PGDTraining(eps=EPS, alpha=ALPHA, steps=STEPS),
}
NOTES = {
    "FGSM mix": "ART replaces part of each batch, and cannot train on all of it twice",
    "fast": "ART's trainer sets the step size itself, from 0 to 0.21 and back, and clips gradients",
}


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]


def loss_by_hand(way: str, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    if way == "plain":
        return F.cross_entropy(model(x), y)
    if way == "FGSM mix":
        x_adv = (x + EPS * gradient(model, x, y).sign()).clamp(0, 1)
        return (F.cross_entropy(model(x), y) + F.cross_entropy(model(x_adv), y)) / 2
    if way == "FGSM, half of each batch":
        k = len(x) // 2
        x_adv = (x[:k] + EPS * gradient(model, x[:k], y[:k]).sign()).clamp(0, 1)
        return F.cross_entropy(model(torch.cat([x_adv, x[k:]])), y)
    steps, alpha = (1, 1.25 * EPS) if way == "fast" else (STEPS, ALPHA)
    x_adv = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(steps):
        x_adv = x_adv + alpha * gradient(model, x_adv, y).sign()
        x_adv = (x + (x_adv - x).clamp(-EPS, EPS)).clamp(0, 1)
    return F.cross_entropy(model(x_adv), y)


def by_hand(way: str, model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), LR)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            loss = loss_by_hand(way, model, x[rows], y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()


def of_art(way: str, model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
    from art.defences.trainer import AdversarialTrainer, AdversarialTrainerFBFPyTorch
    from art.estimators.classification import PyTorchClassifier

    optimizer = torch.optim.Adam(model.parameters(), LR)
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, optimizer, clip_values=(0.0, 1.0),
        device_type="cpu",
    )  # fmt: skip
    budget = {"eps": EPS, "batch_size": BATCH}
    if way == "plain":
        trainer = classifier
    elif way == "fast":
        trainer = AdversarialTrainerFBFPyTorch(classifier, eps=EPS)
    elif way == "PGD":  # what AdversarialTrainerMadryPGD does, but in batches of 64, not of 32
        walk = ProjectedGradientDescent(
            classifier, eps_step=ALPHA, max_iter=STEPS, num_random_init=1, verbose=False, **budget
        )
        trainer = AdversarialTrainer(classifier, walk, ratio=1.0)
    else:
        trainer = AdversarialTrainer(
            classifier, FastGradientMethod(classifier, **budget), ratio=0.5
        )
    trainer.fit(x.numpy(), np.eye(10, dtype=np.float32)[y], batch_size=BATCH, nb_epochs=epochs)
    model.eval()


def ours(way: str, model: nn.Module, x: Tensor, y: Tensor, epochs: int, **options) -> None:
    fit(
        model, (x, y), objective=WAYS[way], epochs=epochs, batch_size=BATCH, lr=LR,
        schedule="constant", **options,
    )  # fmt: skip


def contest(way: str, split, test, epochs: int, turns: int) -> list[dict]:
    """A row for each contestant."""
    contestants: dict[str, Callable] = {
        "advlab": ours,
        "advlab, channels last": partial(ours, channels_last=True),
        "by hand": by_hand,
        "ART": of_art,
    }
    if way == "FGSM mix":
        del contestants["ART"]
    seconds, models = {name: [] for name in contestants}, {}
    few = (split.x[: 2 * BATCH], split.y[: 2 * BATCH])
    for train in contestants.values():  # nobody pays for start-up
        train(way, CNN(), *few, 1)
    for turn in range(turns):
        for name in list(contestants)[:: 1 if turn % 2 == 0 else -1]:
            backend.seed_everything(0)
            models[name] = CNN()
            with backend.Stopwatch() as watch:
                contestants[name](way, models[name], *split, epochs)
            seconds[name].append(watch.seconds)
    rows = []
    judge = attacks.PGD(eps=EPS, steps=40, restarts=2, seed=7)
    steps = epochs * -(-len(split.x) // BATCH)
    for name, model in models.items():
        ratios = [a / b for a, b in zip(seconds[name], seconds["advlab"], strict=True)]
        row = {"training": way, "by": name, "steps": steps}
        row["steps a second"] = round(steps / statistics.median(seconds[name]), 1)
        row["times ours"] = round(statistics.median(ratios), 3)
        row["accuracy"] = round(accuracy(model, *test), 4)
        row["robust accuracy"] = round(accuracy(model, judge(model, *test), test.y), 4)
        if name == "ART" and way in NOTES:
            row["note"] = NOTES[way]
        rows.append(row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ten steps, once; writes nothing")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    backend.device("cpu")
    found = data.load("mnist5k")
    split = data.Split(found.train.x[: 10 * BATCH], found.train.y[: 10 * BATCH])
    split = split if options.quick else found.train
    test = data.Split(found.test.x[:JUDGED], found.test.y[:JUDGED])
    epochs, turns = (1, 1) if options.quick else (EPOCHS, TURNS)
    rows = []
    for way in WAYS:
        rows += contest(way, split, test, epochs, turns)
    if options.quick:
        return
    report = {
        "command": "python benchmarks/training.py",
        "model": "CNN",
        "data": "mnist5k",
        "images": len(split.x),
        "judged": JUDGED,
        "batch size": BATCH,
        "optimizer": "Adam",
        "lr": LR,
        "eps": EPS,
        "PGD steps": STEPS,
        "PGD alpha": ALPHA,
        "turns": turns,
        "made": provenance("cpu", ("torch", "adversarial-robustness-toolbox")),
        "rows": rows,
    }
    write_atomically(
        RESULTS / "training-speed.json", (json.dumps(report, indent=1) + "\n").encode()
    )


if __name__ == "__main__":
    main()
