"""Transfer: images made to fool one model, shown to another that the attacker never asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..models.contract import (
    check_classes,
    check_images,
    check_labels,
    predict_logits,
)
from .attempt import Budget, aim_of, attempt
from .table import aligned


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """What :func:`~advlab.evaluation.transfer_matrix` found: print it, or ``plot()`` it.

    :param attack: its name.
    :param sources: names of the S models that were attacked, a row each.
    :param targets: names of the T models that were shown the images, a column each.
    :param fooled: (S, T, n) bool: the image made on the source reaches the goal on the target.
    :param fooled_source: (S, n) bool: it reaches the goal on the source itself.
    :param white_box: (S, T) bool: the target is the source, or a member of it. There the attacker
        saw the model that judges; transfer is what the other cells tell.
    :param matched: of each row, count only the images that fool their own source.
    :param seconds: of the attack, for each source.
    """

    attack: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    fooled: Tensor
    fooled_source: Tensor
    white_box: Tensor
    matched: bool
    seconds: tuple[float, ...]

    @property
    def n(self) -> int:
        """How many images were attacked: the same ones in every cell."""
        return self.fooled.shape[2]

    @property
    def counted(self) -> Tensor:
        """The denominators, (S,) int64: n, or with ``matched`` the images that fool the source."""
        if self.matched:
            return self.fooled_source.sum(1)
        return torch.full((len(self.sources),), self.n)

    @property
    def rates(self) -> Tensor:
        """The fractions of ``counted`` that fool, (S, T) float64; NaN where none is counted."""
        hits = self.fooled & self.fooled_source[:, None] if self.matched else self.fooled
        return hits.sum(2).double() / self.counted[:, None]

    def __str__(self) -> str:
        """The matrix as text; a star marks the cells where the attacker saw the target."""
        head = ["source \\ target", *self.targets]
        if self.matched:
            head.append("of")
        rows = []
        for s, name in enumerate(self.sources):
            cells = [
                ("–" if rate != rate else f"{rate:.1%}") + (" *" if seen else "  ")
                for rate, seen in zip(self.rates[s].tolist(), self.white_box[s].tolist())
            ]
            rows.append([name, *cells, *([str(self.counted[s].item())] if self.matched else [])])
        # The star has a place of its own, so that the digits of a column stand in line.
        head[1 : 1 + len(self.targets)] = [f"{name}  " for name in self.targets]
        which = "that every model has right"
        if self.matched:
            which += ", those that fool their source"
        return (
            f"{self.attack}: fooled, of {self.n} images {which}\n{aligned(head, rows)}\n"
            "* the attacker saw the target: it is the source, or a member of it"
        )

    def plot(self):
        """The matrix as a map of numbers and colors. A matplotlib Figure."""
        from ..viz import transfer

        return transfer(self)


def transfer_matrix(
    models: Mapping[str, nn.Module],
    attack: Callable,
    data: tuple[Tensor, Tensor],
    *,
    sources: Mapping[str, nn.Module] | None = None,
    targets: Tensor | None = None,
    matched: bool = False,
    progress: bool = False,
) -> TransferMatrix:
    """Attack each source, show what comes out to each model, and count whom it fools.

    Szegedy et al. (2014), section 4.2, did it between networks; Papernot, McDaniel and Goodfellow
    (2016), "Transferability in machine learning", between families of classifiers.

    **What is counted.** The images are those that every model, source or target, has right, so
    that all cells are about the same n images and none counts an error that was there before. A
    cell is the fraction of them for which the attack's goal is reached on the target: a wrong
    class, or, for a targeted attack, the class wanted. With ``matched`` a row counts only those of
    its images that fool their source, as Szegedy et al. do: then a weak attack and a strong one
    are asked the same question, but each row has other images. With n images the standard error of
    a cell is at most 1 / (2√n): 3.5% at 200.

    Run it with ``Noise`` of the same ε too. A model that random noise fools says nothing of
    transfer, however high its column.

    As in :func:`advlab.evaluation.evaluate`, an image that left the box or the budget, or holds
    NaN, counts as failed, on every target.

    An ensemble of models that are all right on an image is right on it too, so a source such as
    ``Ensemble(...)`` of these models does not change n.

    :param models: name → model that judges, each from (N, C, H, W) in [0, 1] to logits (N, K).
    :param attack: ``attack(model, x, y) -> x_adv``. For several attacks, call this again.
    :param data: (x, y), images and their true classes, on the models' device.
    :param sources: name → model to attack, with its gradients; by default the ``models``.
    :param targets: (N,) int64, the classes wanted by an attack with ``targeted=True``; an image
        whose target is its own class is not attacked.
    :param matched: of each row, count only the images that fool their own source.
    :param progress: show a bar over the sources.
    :raises ValueError: no models, broken images or labels, models that do not take the same
        images or have another number of classes, a targeted attack without targets, no image
        that all models have right, or an attack that breaks its contract.
    """
    sources = models if sources is None else sources
    for role, chosen in (("models", models), ("sources", sources)):
        if not len(chosen):
            raise ValueError(f"{role}: expected at least one, found none")
    x, y = data
    check_images(x)
    check_labels(y, x)
    aim, name = aim_of(attack), str(attack)
    if aim.needs_targets:
        if targets is None:
            raise ValueError("targets: expected the classes wanted, since the attack is targeted")
        check_labels(targets, x, "targets")
    budget = Budget.of(attack, name)
    given = targets if aim.needs_targets else y
    wanted = aim.labels(given)

    # Right, and not where the attacker wants it already.
    named = {**_named("source", sources), **_named("target", models)}
    answers = {label: _answers(model, label, x) for label, model in named.items()}
    classes = {label: logits.shape[1] for label, logits in answers.items()}
    if len(set(classes.values())) > 1:
        raise ValueError(f"models: expected one number of classes, found {classes}")
    chosen = aim.applies(given)
    for logits in answers.values():
        check_classes(logits, y)
        check_classes(logits, wanted)
        chosen = chosen & (logits.argmax(1) == y) & ~aim.reached(logits, wanted)
    if not chosen.any():
        raise ValueError(
            f"data: expected an image that every model has right, found none of {len(x)}"
        )
    x, given, wanted = x[chosen], given[chosen], wanted[chosen]

    fooled, fooled_source, seconds = [], [], []
    for source in tqdm(sources.values(), desc=name, disable=not progress, unit="source"):
        made = attempt(source, attack, name, budget, x, given)
        judges = {id(model): model for model in (source, *models.values())}  # each asked once
        reached = {
            key: made.valid & aim.reached(predict_logits(model, made.x_adv), wanted)
            for key, model in judges.items()
        }
        fooled.append(torch.stack([reached[id(model)] for model in models.values()]))
        fooled_source.append(reached[id(source)])
        seconds.append(made.seconds)
    seen = [
        [any(part is target for part in source.modules()) for target in models.values()]
        for source in sources.values()
    ]
    return TransferMatrix(
        attack=name,
        sources=tuple(sources),
        targets=tuple(models),
        fooled=torch.stack(fooled).cpu(),
        fooled_source=torch.stack(fooled_source).cpu(),
        white_box=torch.tensor(seen),
        matched=matched,
        seconds=tuple(seconds),
    )


def _named(role: str, models: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    return {f"{role} {name!r}": model for name, model in models.items()}


def _answers(model: nn.Module, label: str, x: Tensor) -> Tensor:
    """The logits of the natural images, from a model that may not fit them."""
    try:
        return predict_logits(model, x)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:  # torch says a shape that does not fit by either
        raise ValueError(
            f"{label}: could not answer images of shape {tuple(x.shape[1:])} ({error}); all "
            "models must take the same images: put what resizes them into the model's first layer"
        ) from error
