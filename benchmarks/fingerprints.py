"""Times fingerprint scores against plain answers: python benchmarks/fingerprints.py

A score with N fingerprints needs N + 1 looks at the network for each image. The network is the
zoo's mnist-fingerprint, the images are the test images of mnist5k. The plain side answers the same
images N + 1 times by ``predict_logits``. Both sides take turns in one process on one CPU thread; a
ratio is the median of the ratios of the turns. The aim is at most 1.2. Processor time is counted,
so that other work on the machine counts little. Writes results/fingerprints.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from advlab import backend, data
from advlab.data.files import write_atomically
from advlab.detectors import NeuralFingerprint
from advlab.models import load_model, predict_logits
from advlab.provenance import provenance

RESULTS = Path(__file__).parent / "results"
NUMBERS, TURNS = (1, 2, 5, 10), 5


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def row(n: int, images: int, turns: int) -> dict:
    model = load_model("mnist-fingerprint", "cpu")
    test = data.load("mnist5k", device="cpu").test
    detector = NeuralFingerprint(n=n).fit(model, (test.x[-200:], test.y[-200:]))
    x = test.x[:images]

    def plain():
        for _ in range(n + 1):
            predict_logits(model, x)

    scores, passes = [], []
    detector.score(x[:50])  # nobody pays for start-up
    predict_logits(model, x[:50])
    for _ in range(turns):
        scores.append(seconds(lambda: detector.score(x)))
        passes.append(seconds(plain))
    ratios = [a / b for a, b in zip(scores, passes, strict=True)]
    return {
        "fingerprints": n,
        "seconds": round(statistics.median(scores), 3),
        "seconds of the passes": round(statistics.median(passes), 3),
        "times the passes": round(statistics.median(ratios), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 images, once; writes nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    backend.device("cpu")
    images, turns = (200, 1) if options.quick else (1000, TURNS)
    rows = []
    for n in NUMBERS:
        rows.append(row(n, images, turns))
        print(json.dumps(rows[-1]), flush=True)
    if options.quick:
        return
    report = {
        "command": "python benchmarks/fingerprints.py",
        "model": "mnist-fingerprint",
        "data": "mnist5k",
        "images": images,
        "turns": turns,
        "made": provenance("cpu", ("torch",)),
        "rows": rows,
    }
    write_atomically(RESULTS / "fingerprints.json", (json.dumps(report, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
