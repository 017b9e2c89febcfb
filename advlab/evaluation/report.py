"""What an evaluation found: to print, to plot, to keep."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import __version__, threat
from ..data.files import write_atomically
from .metrics import success_rate
from .table import aligned

FORMAT = "advlab-report-1"


@dataclass(frozen=True)
class AttackResult:
    """What one attack did, measured: every field by image is (N,), in the order of the data.

    :param attacked: right before the attack, and not of the class wanted already.
    :param fooled: attacked, and the attack reached its goal inside its budget.
    :param right: the class after the attack is the true one.
    :param invalid: what the attack returned was not a valid image inside its budget: it counts
        as a failure of the attack.
    :param distortion: norm by norm, the size of the perturbation; infinite where not fooled.
    :param seconds: wall time of the attack.
    :param queries: images that the model was asked about, for each image attacked.
    """

    name: str
    norm: str | None
    eps: float | None
    targeted: bool
    attacked: Tensor
    fooled: Tensor
    right: Tensor
    invalid: Tensor
    distortion: dict[str, Tensor]
    seconds: float
    queries: float

    def median_distortion(self, norm: str | None = None) -> float:
        """The median over the fooled images, in the attack's own norm (else L2); NaN if none."""
        values = self.distortion[norm or self.norm or "L2"][self.fooled]
        return values.double().quantile(0.5).item() if len(values) else float("nan")


@dataclass(frozen=True)
class Report:
    """What :func:`~advlab.evaluation.evaluate` found: print it, ``plot()`` it, ``save()`` it."""

    correct: Tensor
    attacks: tuple[AttackResult, ...]

    @property
    def accuracy(self) -> float:
        """Clean accuracy: the fraction right before any attack."""
        return self.correct.float().mean().item()

    def robust_accuracy(self, name: str | None = None) -> float:
        """The fraction still right under the attack of that name; without a name, under all.

        Under all is the worst case a point: an image counts as wrong if any attack made it wrong.
        """
        chosen = [a for a in self.attacks if name in (None, a.name)]
        if not chosen and name is not None:
            known = ", ".join(a.name for a in self.attacks) or "none"
            raise ValueError(f"no attack is named {name!r}; there are: {known}")
        standing = self.correct.clone()
        for attack in chosen:
            standing &= attack.right
        return standing.float().mean().item()

    def table(self) -> str:
        """The report as text."""
        head = ("attack", "robust acc.", "success", "median size", "queries", "seconds")
        rows = [("none", f"{self.accuracy:.1%}", "", "", "", "")]
        for a in self.attacks:
            unit = a.norm or "L2"
            rows.append(
                (
                    a.name + (" *" if a.invalid.any() else ""),
                    f"{self.robust_accuracy(a.name):.1%}",
                    f"{success_rate(a.fooled, a.attacked):.1%}" if a.attacked.any() else "–",
                    f"{a.median_distortion():.3g} {unit}" if a.fooled.any() else "–",
                    f"{a.queries:.0f}",
                    f"{a.seconds:.1f}",
                )
            )
        if len(self.attacks) > 1:
            rows.append(("worst case", f"{self.robust_accuracy():.1%}", "", "", "", ""))
        lines = [aligned(head, rows)]
        for a in self.attacks:
            if count := int(a.invalid.sum()):
                lines.append(
                    f"* {a.name}: {count} images left the box or the budget, or held NaN, "
                    "and count as failed"
                )
        return "\n".join(lines)

    __str__ = table

    def plot(self):
        """Robust accuracy, a bar an attack and one for the worst case. A matplotlib Figure."""
        from ..viz import accuracy_bars

        values = {"no attack": self.accuracy}
        values |= {a.name: self.robust_accuracy(a.name) for a in self.attacks}
        if len(self.attacks) > 1:
            values["worst case"] = self.robust_accuracy()
        return accuracy_bars(values)

    def to_json(self) -> str:
        """Everything, by image too; numbers that are not finite become null."""
        attacks = []
        for a in self.attacks:
            row = dataclasses.asdict(a)
            row["robust_accuracy"] = self.robust_accuracy(a.name)
            row["success_rate"] = success_rate(a.fooled, a.attacked)
            row["median_distortion"] = a.median_distortion()
            attacks.append(row)
        document = {
            "format": FORMAT,
            "advlab": __version__,
            "torch": torch.__version__,
            "images": len(self.correct),
            "accuracy": self.accuracy,
            "worst_case_accuracy": self.robust_accuracy(),
            "correct": self.correct,
            "attacks": attacks,
        }
        return json.dumps(_plain(document), indent=1, allow_nan=False)

    def save(self, path: str | os.PathLike) -> None:
        """Write :meth:`to_json` to a file; the file is there whole or not at all."""
        write_atomically(path, (self.to_json() + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Report:
        """Read what :meth:`save` wrote.

        :raises ValueError: the file is not a report.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']!r}")
            correct = torch.tensor(document["correct"], dtype=torch.bool)
            return cls(correct, tuple(_attack(row, len(correct)) for row in document["attacks"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a report that advlab wrote ({error!r})") from error


def _attack(saved: dict, n: int) -> AttackResult:
    row = {field.name: saved[field.name] for field in dataclasses.fields(AttackResult)}
    for name in ("attacked", "fooled", "right", "invalid"):
        row[name] = torch.tensor(row[name], dtype=torch.bool)
    row["distortion"] = {
        norm: torch.tensor(
            [math.inf if v is None else v for v in saved["distortion"][norm]], dtype=torch.float64
        )
        for norm in threat.NORMS
    }
    by_image = [row[name] for name in ("attacked", "fooled", "right", "invalid")]
    if any(t.shape != (n,) for t in [*by_image, *row["distortion"].values()]):
        raise ValueError(f"expected {n} entries for each image, as in its 'correct'")
    return AttackResult(**row)


def _plain(value):
    """Tensors to lists, and numbers that JSON cannot hold to None."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value
