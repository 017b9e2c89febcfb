"""Seconds that detectors take to score 1,000 images: python benchmarks/detectors.py

The zoo's mnist-dropout is watched, on two CPU threads of one process. A turn is each detector once;
the median of five turns counts, beside that of a plain forward pass. Writes nothing; with
``--write``, results/detectors-speed.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch

from advlab import backend, data
from advlab.attacks import FGSM
from advlab.data.files import write_atomically
from advlab.detectors import LID, BayesianUncertainty, Combined, KernelDensity
from advlab.models import load_model, predict
from advlab.provenance import provenance

RESULTS = Path(__file__).parent / "results"
MODEL, IMAGES, TURNS, MOST = "mnist-dropout", 1000, 5, 5.0
ATTACK = FGSM(eps=0.3)
EVERY = {
    "kernel density": KernelDensity,
    "Bayesian uncertainty": BayesianUncertainty,
    "both combined": lambda: Combined([KernelDensity(), BayesianUncertainty()], attack=ATTACK),
    "LID": lambda: LID(attack=ATTACK),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--write", action="store_true", help="results/detectors-speed.json")
    options = parser.parse_args()
    torch.set_num_threads(2)
    backend.device("cpu")
    model, found = load_model(MODEL), data.load("mnist5k")
    x = found.test.x[:IMAGES]
    ways, fitting = {"forward pass": lambda: predict(model, x)}, {}
    for name, build in EVERY.items():
        detector = build()
        with backend.Stopwatch() as watch:
            detector.fit(model, found)
        fitting[name] = watch.seconds
        detector.score(x[:128])
        ways[name] = lambda detector=detector: detector.score(x)
    seconds = {name: [] for name in ways}
    for _ in range(options.turns):
        for name, way in ways.items():
            with backend.Stopwatch() as watch:
                way()
            seconds[name].append(watch.seconds)
    plain = statistics.median(seconds["forward pass"])
    rows = []
    for name, taken in seconds.items():
        median = statistics.median(taken)
        row = {"score": name, "seconds": round(median, 3), "fastest": round(min(taken), 3)}
        row["forward passes"] = round(median / plain, 1)
        if name in fitting:
            row["seconds to fit"] = round(fitting[name], 2)
            row[f"at most {MOST:g} s"] = median <= MOST
        rows.append(row)
        print(json.dumps(row))
    if options.write:
        report = {
            "command": "python benchmarks/detectors.py --write",
            "model": MODEL,
            "images": IMAGES,
            "turns": options.turns,
            "threads": 2,
            "made": provenance("cpu", ("torch", "scikit-learn")),
            "rows": rows,
        }
        text = json.dumps(report, indent=1) + "\n"
        write_atomically(RESULTS / "detectors-speed.json", text.encode())


if __name__ == "__main__":
    main()
