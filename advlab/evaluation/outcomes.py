"""A model that may reject: how often it is right, says no, or is wrong and does not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..goals import Undetected, check_rejects, may_reject
from ..models.contract import check_device, check_images, check_labels, predict_logits
from .attempt import Budget, aim_of, attempt
from .detection import named_attacks
from .table import aligned

RIGHT, REJECTED, UNDETECTED = range(3)
NAMES = ("right", "rejected", "wrong and undetected")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model that may reject made of images: the three fractions add up to 1.

    :param kinds: (N,) int64 on the CPU: 0 where it is right, 1 where it rejects the image, 2 where
        it is wrong and does not notice.
    """

    kinds: Tensor

    @property
    def right(self) -> float:
        """The fraction answered, and right."""
        return self._fraction(RIGHT)

    @property
    def rejected(self) -> float:
        """The fraction rejected."""
        return self._fraction(REJECTED)

    @property
    def undetected(self) -> float:
        """The fraction answered, and wrong: an attack's success."""
        return self._fraction(UNDETECTED)

    def _fraction(self, kind: int) -> float:
        return (self.kinds == kind).double().mean().item()

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Right, rejected, wrong and undetected."""
        return self.right, self.rejected, self.undetected


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What :func:`~advlab.evaluation.outcomes` found: print it, ``plot()`` it, or take ``rows()``.

    :param natural: of the images as they are.
    :param attacks: attack → of the same images under it.
    :param false_alarms: the fraction rejected of the natural images whose class the model has
        right; NaN of none.
    """

    natural: Outcome
    attacks: dict[str, Outcome]
    false_alarms: float

    @property
    def images(self) -> int:
        """How many."""
        return len(self.natural.kinds)

    @property
    def worst(self) -> Outcome:
        """Image by image the worst of natural and all attacks: undetected, else rejected."""
        every = [self.natural, *self.attacks.values()]
        return Outcome(torch.stack([outcome.kinds for outcome in every]).amax(0))

    def rows(self) -> list[dict[str, str | int | float]]:
        """A plain dict for the natural images and for each attack, ready for JSON."""
        every = {"none": self.natural, **self.attacks}
        return [
            {
                "attack": name,
                "images": self.images,
                "right": outcome.right,
                "rejected": outcome.rejected,
                "undetected": outcome.undetected,
            }
            for name, outcome in every.items()
        ]

    def __str__(self) -> str:
        rows = [
            [row["attack"], *(f"{row[kind]:.1%}" for kind in ("right", "rejected", "undetected"))]
            for row in self.rows()
        ]
        if len(self.attacks) > 1:
            rows.append(["worst case", *(f"{share:.1%}" for share in self.worst.fractions)])
        note = (
            f"{self.images} images; of the natural ones whose class is right, "
            f"{self.false_alarms:.1%} are rejected (false alarms)"
        )
        return "\n".join([aligned(["attack", *NAMES], rows), note])

    def plot(self):
        """The three fractions as parts of a bar, a bar an attack. A matplotlib Figure."""
        from ..viz import outcome_bars

        every = {"no attack": self.natural, **self.attacks}
        return outcome_bars({name: outcome.fractions for name, outcome in every.items()})


def outcomes(
    model: nn.Module,
    attacks: Mapping[str, Callable] | Iterable[Callable],
    data: tuple[Tensor, Tensor],
    *,
    source: nn.Module | None = None,
    targets: Tensor | None = None,
    progress: bool = False,
) -> Outcomes:
    """Attack a model that may reject, and count what becomes of every image.

    Every image counts, with or without attack: answered and right, rejected, or answered and
    wrong, which nobody notices. An attack has succeeded only in the last case, whatever its own
    goal is. An image that is wrong and undetected from the start needs no attack and stays as it
    is; one that is rejected is attacked too. What left the box or the budget counts as not done.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K + 1), the last of which rejects the
        image, such as :class:`advlab.detectors.Defended`.
    :param attacks: name → ``attack(model, x, y)``, or attacks, which then go by their own names.
        With the goal ``"undetected"`` they know what they have to do.
    :param data: (x, y), images and their true classes, on the model's device.
    :param source: attack this one, with or without a class "rejected", and show what comes out to
        the model: the attacker does not know of the detector.
    :param targets: (N,) int64, the classes wanted by attacks with ``targeted=True``; an image whose
        target is its own class is not attacked.
    :param progress: show a bar over the attacks.
    :raises ValueError: a model that cannot reject, no images, a targeted attack without targets,
        the goal ``"undetected"`` on a source that cannot reject, or what
        :func:`advlab.evaluation.evaluate` raises.
    """
    x, y = data
    check_images(x)
    check_labels(y, x)
    check_device(model, x)
    check_rejects(model)
    if not len(x):
        raise ValueError("data: expected at least one image, found none")
    attacks = named_attacks(attacks)
    needs_targets = any(aim_of(attack).needs_targets for attack in attacks.values())
    if targets is not None:
        check_labels(targets, x, "targets")
    elif needs_targets:
        raise ValueError("targets: expected the classes wanted, since an attack is targeted")
    source = model if source is None else source
    check_device(source, x)
    if not may_reject(source):
        for name, attack in attacks.items():
            if isinstance(aim_of(attack), Undetected):
                raise ValueError(
                    f"attacks: {name} has the goal 'undetected', and the source cannot reject: its "
                    "last class would count as a rejection; use an untargeted attack"
                )
    logits = predict_logits(model, x)
    check_classes(logits, y)
    known = logits[:, :-1].argmax(1) == y
    natural = judged(logits, y)
    found = {}
    for name, attack in tqdm(attacks.items(), desc="attacks", disable=not progress):
        aim = aim_of(attack)
        given = targets if aim.needs_targets else y
        chosen = aim.applies(given) & (natural != UNDETECTED)
        if aim.needs_targets:
            chosen &= given != y
        index = chosen.nonzero().squeeze(1)
        budget = Budget.of(attack, name)
        made = attempt(source, attack, name, budget, x[index], given[index])
        kinds = natural.clone()
        if len(index):
            kinds[index] = judged(predict_logits(model, made.x_adv), y[index])
        found[name] = Outcome(kinds.cpu())
    rejected = (natural == REJECTED)[known]
    return Outcomes(
        natural=Outcome(natural.cpu()),
        attacks=found,
        false_alarms=rejected.double().mean().item() if len(rejected) else float("nan"),
    )


def judged(logits: Tensor, y: Tensor) -> Tensor:
    """What the answers come to: 0 right, 1 rejected, 2 neither. (N, K + 1), (N,) to (N,) int64."""
    answer = logits.argmax(1)
    kinds = torch.full_like(answer, UNDETECTED)
    kinds[answer == y] = RIGHT
    kinds[answer == logits.shape[1] - 1] = REJECTED
    return kinds


def check_classes(logits: Tensor, y: Tensor) -> None:
    """:raises ValueError: a true class that is the last one, "rejected", or beyond."""
    if y.max() >= logits.shape[1] - 1:
        raise ValueError(
            f"y: expected classes below {logits.shape[1] - 1}, where 'rejected' begins, "
            f"found {y.max().item()}"
        )
