"""What an evaluation found: to print, to plot, to keep."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import __version__
from .metrics import success_rate


@dataclass(frozen=True)
class AttackResult:
    """What one attack did, measured: every field by image is (N,), in the order of the data.

    :param fooled: right before the attack, and the attack reached its goal inside its budget.
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
    fooled: Tensor
    invalid: Tensor
    distortion: dict[str, Tensor]
    seconds: float
    queries: float

    def median_distortion(self, norm: str | None = None) -> float:
        """The median over the fooled images, in the attack's own norm (else L2); NaN if none."""
        values = self.distortion[norm or self.norm or "L2"][self.fooled]
        return values.median().item() if len(values) else float("nan")


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

        Under all is the worst case a point: an image counts as fooled if any attack fooled it.
        """
        chosen = [a for a in self.attacks if name in (None, a.name)]
        if not chosen and self.attacks:
            known = ", ".join(a.name for a in self.attacks)
            raise ValueError(f"no attack is named {name!r}; there are: {known}")
        standing = self.correct.clone()
        for attack in chosen:
            standing &= ~attack.fooled
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
                    f"{success_rate(a.fooled, self.correct):.1%}",
                    f"{a.median_distortion():.3g} {unit}" if a.fooled.any() else "–",
                    f"{a.queries:.0f}",
                    f"{a.seconds:.1f}",
                )
            )
        if len(self.attacks) > 1:
            rows.append(("worst case", f"{self.robust_accuracy():.1%}", "", "", "", ""))
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        lines = [
            "  ".join(
                c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))
            )
            for row in (head, *rows)
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        for a in self.attacks:
            if count := int(a.invalid.sum()):
                lines.append(
                    f"* {a.name}: {count} images left the box or the budget, or held NaN, "
                    "and count as failed"
                )
        return "\n".join(line.rstrip() for line in lines)

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
            row["success_rate"] = success_rate(a.fooled, self.correct)
            row["median_distortion"] = a.median_distortion()
            attacks.append(row)
        document = {
            "format": "advlab-report-1",
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
        path = Path(path)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            file.write(self.to_json() + "\n")
        os.replace(file.name, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Report:
        """Read what :meth:`save` wrote.

        :raises ValueError: the file is not a report.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            if document["format"] != "advlab-report-1":
                raise KeyError("format")
            names = [f.name for f in dataclasses.fields(AttackResult)]
            attacks = []
            for saved in document["attacks"]:
                row = {name: saved[name] for name in names}
                for name in ("fooled", "invalid"):
                    row[name] = torch.tensor(row[name], dtype=torch.bool)
                row["distortion"] = {
                    norm: torch.tensor([float("inf") if v is None else v for v in values])
                    for norm, values in row["distortion"].items()
                }
                attacks.append(AttackResult(**row))
            return cls(torch.tensor(document["correct"], dtype=torch.bool), tuple(attacks))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a report that advlab wrote ({error!r})") from error


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
