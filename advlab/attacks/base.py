"""What every attack does around its own few lines: check, freeze, batch, differentiate."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import threat
from ..backend import Interrupted, in_batches
from ..checks import check_number as check_number
from ..checks import check_whole as check_whole
from ..goals import TARGETED, UNTARGETED, Goal, Targeted, Undetected, check_rejects, parse_goal
from ..models.contract import (
    check_device,
    check_images,
    check_labels,
    forward_of,
    frozen,
)
from ..models.preprocessing import check_backward, differentiated
from .attacked import AttackedModel


class GradientWarning(UserWarning):
    """The gradient of the loss is exactly zero for some images: the attack cannot see a way."""


class AttackInterrupted(KeyboardInterrupt):
    """Ctrl-C came while an attack was at work; the images that were done are not lost.

    Go on with ``attack(model, x[~error.done], y[~error.done])``: up to rounding, an image's result
    does not depend on the others. Images are done a batch at a time; a smaller ``batch_size``
    loses less.

    :ivar x_adv: (N, C, H, W), the images attacked so far, and the others as they were.
    :ivar done: (N,) bool, which were attacked.
    """

    def __init__(self, x_adv: Tensor, done: Tensor):
        super().__init__(
            f"interrupted after {int(done.sum())} of {len(done)} images; "
            "they are in .x_adv, at .done"
        )
        self.x_adv, self.done = x_adv, done


class LearningInterrupted(KeyboardInterrupt):
    """Ctrl-C came while something was learned; what was learned so far is not lost.

    ``LearningInterrupted(v=v)`` keeps it in ``.v``; a subclass says what that is.
    """

    def __init__(self, **learned):
        names = ", ".join(f".{name}" for name in learned)
        super().__init__(f"interrupted; what was learned so far is in {names}")
        vars(self).update(learned)


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An attack is its hyper-parameters; calling it on a model attacks images.

    :param goal: what the attacker wants: ``"untargeted"`` (the default), ``"targeted"``,
        ``"confidence"``, ``"undetected"``, or one of :mod:`advlab.goals`, such as
        ``SourceTarget(3, 5)``.
    :param targeted: short for ``goal="targeted"``: ``y`` is the class wanted, not the one to leave.
    :param batch_size: images at a time; by default what suits the device.
    :param backward: how steps in front of the network are differentiated while the attack runs:
        ``"substitute"``, ``"identity"`` or a function, see :class:`advlab.models.Preprocessing`.
        By default as the steps themselves say. This makes any gradient attack one that knows of
        the defense (BPDA).
    :raises ValueError: a goal that this attack cannot have, or another ``backward``.

    A subclass holds the method in :meth:`perturb`, and names the goals that it cannot have in
    ``refuses``, each with the reason.
    """

    refuses: ClassVar[dict[type[Goal], str]] = {}

    targeted: bool = False
    goal: Goal | str | None = None
    batch_size: int | None = None
    backward: str | Callable[[Tensor], Tensor] | None = None

    def __post_init__(self):
        check_backward(self.backward, unset=True)
        if self.goal is not None:
            goal = parse_goal(self.goal)
            if self.targeted and goal != TARGETED:
                raise ValueError(f"targeted=True contradicts goal={self.goal!r}; give one of them")
            # One way to say each thing, so that dataclasses.replace can change either.
            object.__setattr__(self, "targeted", goal == TARGETED)
            object.__setattr__(self, "goal", None if goal in (TARGETED, UNTARGETED) else goal)
        for kind, reason in self.refuses.items():
            if isinstance(self.aim, kind):
                raise ValueError(f"goal: {type(self).__name__} cannot have {self.aim}: {reason}")
        if self.batch_size is not None:
            check_whole(self, "batch_size")

    @property
    def aim(self) -> Goal:
        """What the attacker wants, as a :class:`advlab.goals.Goal`."""
        return self.goal or (TARGETED if self.targeted else UNTARGETED)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, progress: bool = False) -> Tensor:
        """Adversarial images x_adv for the images x.

        :param model: maps (N, C, H, W) in [0, 1] to logits (N, K). It is attacked in evaluation
            mode and left exactly as it was found.
        :param x: (N, C, H, W) floating point, in [0, 1].
        :param y: (N,) int64: the true classes, or the classes wanted if ``targeted``.
        :param progress: show a progress bar.
        :returns: (N, C, H, W), detached, in [0, 1], of the dtype and on the device of x.
        :raises ValueError: images, labels or answers of the model that break the contract; with the
            goal ``"undetected"``, a model without the attribute ``rejected``, by which it says that
            its last class means that (set ``model.rejected = -1`` on what wraps one that does).
        :raises AttackInterrupted: on Ctrl-C, with the images that were done.
        """
        check_images(x)
        check_labels(y, x)
        check_device(model, x)
        if isinstance(self.aim, Undetected):  # else its last class would count as a rejection
            check_rejects(model)
        index = self.aim.applies(y).nonzero().squeeze(1)
        # Outside of inference mode: what is made in it cannot take part in a gradient.
        with (
            torch.inference_mode(False),
            frozen(model),
            differentiated(model, self.backward),
        ):
            out = x.detach().clone()
            if len(index):
                out[index], stuck = self._attack(model, out, y, index, progress)
        if len(index) and stuck.any():
            warnings.warn(
                f"the gradient is exactly zero for {int(stuck.sum())} of {len(index)} images where "
                "the attack starts, so it cannot tell where to go: a saturated softmax or a "
                "defense that masks gradients, not robustness",
                GradientWarning,
                stacklevel=2,
            )
        return out

    def _attack(self, model, x: Tensor, y: Tensor, index: Tensor, progress: bool) -> tuple:
        """The images of that index attacked, and where the first gradient was zero."""
        forward = forward_of(model)
        goal = TARGETED if isinstance(self.aim, Targeted) else self.aim
        form = "{l_bar}{bar}| {n:.0f}/{total} images [{elapsed}<{remaining}]"

        def attack(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            batch = AttackedModel(forward, x, goal, bar)
            return self.perturb(batch, x, y), batch.stuck

        with tqdm(total=len(index), desc=str(self), disable=not progress, bar_format=form) as bar:
            try:
                return in_batches(
                    attack,
                    x[index],
                    self.aim.labels(y)[index],
                    batch_size=self.batch_size,
                    bar=bar,
                )
            except Interrupted as error:
                done = ~self.aim.applies(y)
                if error.rows:
                    finished = index[: error.rows]
                    x[finished], done[finished] = error.done[0], True
                raise AttackInterrupted(x, done) from error

    def perturb(self, model: AttackedModel, x: Tensor, y: Tensor) -> Tensor:
        """Attack one batch."""
        raise NotImplementedError

    def changed(self, **change) -> Attack:
        """This attack with other hyper-parameters: ``attack.changed(eps=0.1)``.

        :raises TypeError: a name that it does not have.
        """
        return dataclasses.replace(self, **change)

    def __str__(self) -> str:
        """The name with what differs from the defaults: ``PGD(eps=0.1, steps=10)``."""
        shown = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if f.repr and (f.name == "eps" or getattr(self, f.name) != f.default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def set_norm(attack: Attack, *allowed: str) -> None:
    """Give the attack's norm its standard name.

    :raises ValueError: a norm that is not among those allowed.
    """
    norm = threat.parse_norm(attack.norm)
    if norm not in allowed:
        expected = " or ".join(", ".join(allowed).rsplit(", ", 1))
        raise ValueError(f"norm: found {norm!r}, expected {expected}")
    object.__setattr__(attack, "norm", norm)
