"""Several models under the same attacks, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import threat
from ..attacks import APGD, EOT, PGD, Attack
from ..backend import seeded
from ..goals import UNTARGETED
from ..models.contract import predict_logits
from ..models.preprocessing import steps_in_front
from .attempt import TOLERANCE, aim_of
from .costs import prediction_costs
from .evaluate import evaluate
from .report import AttackResult, Report
from .table import aligned

ADAPTIVE = "adaptive"


@dataclass(frozen=True)
class Row:
    """What was measured of one model; accuracies are from 0 to 1.

    :param model: its name.
    :param accuracy: clean.
    :param robust: attack → accuracy under it, at its own budget or limit.
    :param worst: the fraction right under all the attacks together, in the comparison's own ball:
        an image counts as fooled by any attack whose perturbation of it lies inside.
    :param prediction: seconds to predict / seconds of the first model.
    :param training: seconds a training step / those of the first model; None where not given.
    """

    model: str
    accuracy: float
    robust: dict[str, float]
    worst: float
    prediction: float
    training: float | None


@dataclass(frozen=True)
class Comparison:
    """What :func:`advlab.evaluation.compare` found: print it, ``plot()`` it, or take the ``rows``.

    :param rows: a row a model, in the order given.
    :param attacks: the columns.
    :param limits: attack → (norm, size) that its column is at, where it has no ε of its own.
    :param eps: ε of the worst case.
    :param norm: of ε.
    :param images: how many.
    """

    rows: tuple[Row, ...]
    attacks: tuple[str, ...]
    limits: dict[str, tuple[str, float]]
    eps: float
    norm: str
    images: int

    def __getitem__(self, model: str) -> Row:
        """The row of that model.

        :raises KeyError: no such model; the message lists what there is.
        """
        for row in self.rows:
            if row.model == model:
                return row
        raise KeyError(f"{model!r}; there are: {', '.join(row.model for row in self.rows)}")

    def __str__(self) -> str:
        head = ["model", "clean", *self.attacks, "worst", "prediction", "training"]
        rows = [
            [
                row.model,
                f"{row.accuracy:.1%}",
                *(f"{row.robust[a]:.1%}" if a in row.robust else "–" for a in self.attacks),
                f"{row.worst:.1%}",
                f"{row.prediction:.2f}x",
                f"{row.training:.2f}x" if row.training is not None else "–",
            ]
            for row in self.rows
        ]
        notes = [f"{self.images} images; worst: all attacks inside {self.norm} ≤ {self.eps:g}"]
        notes += [f"{name}: {norm} ≤ {size:g}" for name, (norm, size) in self.limits.items()]
        return "\n".join([aligned(head, rows), "; ".join(notes)])

    def plot(self):
        """Fraction wrong, a row a model and a column an attack. A matplotlib Figure."""
        from ..viz import heatmap

        missing = float("nan")
        values = [
            [row.accuracy, *(row.robust.get(a, missing) for a in self.attacks), row.worst]
            for row in self.rows
        ]
        return heatmap(
            1 - torch.tensor(values),
            [row.model for row in self.rows],
            ["none", *self.attacks, "worst"],
            row_label="model",
            column_label="wrong under attack",
        )


def compare(
    models: Mapping[str, nn.Module],
    attacks: Iterable[Callable] | Mapping[str, Callable],
    data: tuple[Tensor, Tensor],
    *,
    eps: float,
    norm: str = "Linf",
    adaptive: Mapping[str, Callable] | None = None,
    limits: Mapping[str, tuple[str, float]] | None = None,
    training: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """The same images and attacks for each model, and what each model costs.

    Accuracies are of all images: those that a model has wrong from the start count as wrong. An
    attack that looks for the smallest perturbation has no ε; its column needs a limit, and an image
    counts as fooled where the perturbation found is within it. The worst case is of one threat
    model, the ball of ``eps`` and ``norm``: a perturbation that some attack of another norm found
    counts there if it lies inside. Attacks without knowledge of a defense say little about it: give
    each defended model an adaptive one.

    :param models: name → model; costs are against the first.
    :param attacks: as for :func:`advlab.evaluation.evaluate`, after any class but the true one.
    :param data: (x, y), images and their true classes, on the models' device.
    :param eps: ε of the worst case.
    :param norm: of ε.
    :param adaptive: model → attack that knows of its defense: the column "adaptive".
    :param limits: attack → (norm, largest size that counts), for attacks without ε; "adaptive" is
        the name of that column.
    :param training: model → cost of training, as :func:`advlab.evaluation.training_costs` gives it.
    :param seed: of what random models draw.
    :param progress: show a bar over the models.
    :raises ValueError: no model, an ε below 0, an attack that wants something else than a wrong
        answer, or one without ε and without a limit, names in ``adaptive``,
        ``limits`` or ``training`` that are not there, or what ``evaluate`` raises.
    """
    adaptive, limits, training = dict(adaptive or {}), dict(limits or {}), dict(training or {})
    if not isinstance(attacks, Mapping):
        attacks = list(attacks)
        if len({str(a) for a in attacks}) < len(attacks):
            raise ValueError("attacks: two have one name; pass a dict to name them")
        attacks = {str(a): a for a in attacks}
    named = dict(attacks)
    limits = {name: (threat.parse_norm(unit), size) for name, (unit, size) in limits.items()}
    norm = threat.parse_norm(norm)
    if not 0 <= eps < float("inf"):
        raise ValueError(f"eps: expected a finite number, at least 0, found {eps!r}")
    if not models:
        raise ValueError("models: expected at least one, found none")
    if ADAPTIVE in named:
        raise ValueError(f"attacks: {ADAPTIVE!r} is the name of a column already; use another")
    for what, given, known in (
        ("adaptive", adaptive, models),
        ("training", training, models),
        ("limits", limits, {**named, ADAPTIVE: None} if adaptive else named),
    ):
        if unknown := set(given) - set(known):
            raise ValueError(
                f"{what}: found {sorted(unknown)}, expected among {', '.join(known) or 'nothing'}"
            )
    for name, attack in [*named.items(), *((ADAPTIVE, a) for a in adaptive.values())]:
        if aim_of(attack) != UNTARGETED:
            raise ValueError(
                f"attacks: {name!r} wants {aim_of(attack)}; expected attacks after any wrong "
                "class. Use evaluate, which takes targets"
            )
        if getattr(attack, "eps", None) is None and name not in limits:
            raise ValueError(f"limits: expected (norm, size) for {name!r}, which has no eps")
    rows, costs = [], prediction_costs(models, data[0])
    for model, network in tqdm(models.items(), desc="models", disable=not progress):
        own = named | ({ADAPTIVE: adaptive[model]} if model in adaptive else {})
        with seeded(data[0].device, seed):
            report = evaluate(network, own, data)
        rows.append(
            Row(
                model,
                report.accuracy,
                {a.name: at_limit(report, a, limits.get(a.name)) for a in report.attacks},
                standing(report, eps, norm).float().mean().item(),
                costs[model],
                training.get(model),
            )
        )
    columns = (*named, ADAPTIVE) if adaptive else tuple(named)
    return Comparison(tuple(rows), columns, limits, eps, norm, len(data[0]))


def at_limit(report: Report, attack: AttackResult, limit: tuple[str, float] | None) -> float:
    """Accuracy under one attack of the report, of the perturbations of at most that size."""
    if limit is None:
        return report.robust_accuracy(attack.name)
    norm, size = limit
    return (report.correct & ~inside(attack, size, norm)).float().mean().item()


def standing(report: Report, eps: float, norm: str) -> Tensor:
    """(N,) bool: right, and fooled by no perturbation inside the ball that an attack found."""
    standing = report.correct.clone()
    for attack in report.attacks:
        standing &= ~inside(attack, eps, norm)
    return standing


def inside(attack: AttackResult, eps: float, norm: str) -> Tensor:
    """(N,) bool: fooled, by a perturbation inside that ball."""
    return attack.distortion[norm] <= eps * (1 + TOLERANCE) + TOLERANCE


def adaptive_attack(
    model: nn.Module, x: Tensor, *, eps: float, norm: str = "Linf", steps: int = 40,
    samples: int = 10, seed: int = 0,
) -> Attack:  # fmt: skip
    """The attack that knows how a model is defended, as far as the model itself tells.

    - Steps in front of the network (:class:`advlab.models.Preprocessing`): PGD through their
      substitutes (BPDA).
    - Answers or gradients that differ from look to look: the mean over ``samples`` looks as well
      (EOT).
    - Neither: APGD on the difference of logits ratio, which logits of any size cannot saturate.

    It is where to begin: a defense of your own has weak points that only you know.

    :param x: (N, C, H, W), images to look at, at least one; 32 are enough.
    :param samples: looks to average over.
    :returns: PGD, EOT of PGD, or APGD, of that ``eps``, ``norm``, ``steps`` and ``seed``.
    """
    through = bool(steps_in_front(model))
    walk = {"eps": eps, "norm": norm, "steps": steps, "seed": seed}
    looks = [predict_logits(model, x[:32]) for _ in range(2)]
    random = not torch.allclose(*looks, rtol=1e-3, atol=1e-3 * looks[0].std().item())
    if not (through or random):
        classes = looks[0].shape[1]
        return APGD(loss="dlr" if classes > 2 else "margin", **walk)
    attack = PGD(backward="substitute" if through else None, **walk)
    return EOT(attack=attack, samples=samples, seed=seed) if random else attack
