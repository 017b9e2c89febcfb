"""A black-box attack: train a model of one's own on the labels that another gives, and attack it.

What is adversarial for the substitute is often adversarial for the oracle. Images alone are too
few; the attacker makes more, where the substitute's answer changes fastest, and asks about those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..backend import Interrupted
from ..models.contract import check_device, check_images, check_labels, predict
from ..training import fit
from .augment import jacobian_augment, noise_augment, reservoir
from .base import LearningInterrupted, check_number, check_whole
from .oracle import Oracle, QueryBudgetSpent


@dataclass
class SubstituteRun:
    """What training a substitute saw: a number a round, and the images that were labeled.

    :param queries: images labeled by the oracle so far.
    :param loss: of the last epoch, the mean cross-entropy.
    :param agreement: from 0 to 1: on the images labeled so far, how often the substitute says what
        the oracle said. These images were trained on; agreement on others is less.
    :param x: (N, C, H, W), the images that the oracle labeled, all different.
    :param y: (N,), their labels.
    :param ended: ``"rounds"`` when all rounds were made, ``"budget"`` when the oracle had too few
        queries left for another.
    """

    queries: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    agreement: list[float] = field(default_factory=list)
    x: Tensor | None = field(default=None, repr=False)
    y: Tensor | None = field(default=None, repr=False)
    ended: str = ""


class SubstituteInterrupted(LearningInterrupted):
    """Ctrl-C came while a substitute was trained; its network keeps what it learned.

    :ivar run: the :class:`~advlab.attacks.SubstituteRun` so far, with all labels paid for.
    """


@dataclass(frozen=True, kw_only=True)
class Substitute:
    """Train a substitute F for an oracle Õ of which only labels are seen.

    Papernot et al. (2017), algorithm 1. From the attacker's own images S₀, for ρ = 0, 1, …:

    - ask: D = {(x, Õ(x)) : x ∈ S_ρ}, where only images that are new are asked about;
    - train F on D;
    - augment: S_{ρ+1} = {x + λ_ρ sgn(J_F(x)[Õ(x)]) : x ∈ S_ρ} ∪ S_ρ.

    S doubles each round: n images become n 2^ρ, 100 become 6,400 in six rounds. With ``kappa``,
    after ``sigma`` rounds only κ images, drawn by :func:`~advlab.attacks.reservoir`, are augmented,
    and n 2^σ + κ(ρ − σ) are asked about. With ``tau``, λ_ρ = λ (−1)^⌊ρ/τ⌋ turns around every τ
    rounds. Both are from Papernot et al. (2016), section 4.

    Then attack the network as your own, ``FGSM()(network, x, y)``, and judge the images with
    :func:`advlab.evaluation.oracle_error`.

    What the step is worth: from 100 digits on, a ``CNN()`` asked the zoo's ``mnist-cnn`` for 1,600
    labels (4 rounds of 5 epochs, ``lr=2e-3``). By FGSM at ε = 0.3 the oracle then got 93% of 500
    other digits wrong with λ = −0.2, 86% with −0.1, 76% with +0.1, and 71% with the control
    ``augment="noise"``, one run each. Random signs of size ε alone: 5%.

    Where we differ: F are logits (see :func:`~advlab.attacks.jacobian_augment`), images are clipped
    to the box, the network goes on from the last round's weights, and Adam with a cosine schedule
    stands for the paper's momentum.

    :param rounds: how often S is augmented; the network is trained once more than that. At least 0.
    :param lam: λ, the step of the augmentation, of pixels from 0 to 1; the paper's is 0.1. Below 0
        the images go down the label's logit, toward the boundary, in place of up.
    :param tau: τ, rounds after which the step turns around; by default it does not.
    :param kappa: κ, images augmented in a round after ``sigma``; by default all.
    :param sigma: σ, rounds before the reservoir begins.
    :param augment: ``"jacobian"``; ``"noise"``, the control, random signs of the same size; or a
        function with the arguments and the result of :func:`~advlab.attacks.jacobian_augment`.
    :param epochs: passes over D in a round.
    :param lr: Adam's step size.
    :param batch_size: images a step.
    :param seed: of the order of the images, of the reservoir and of the noise. The network's
        initial weights are the caller's.
    :raises ValueError: a hyper-parameter out of its range.
    """

    rounds: int = 6
    lam: float = 0.1
    tau: int | None = None
    kappa: int | None = None
    sigma: int = 3
    augment: str | Callable[..., Tensor] = "jacobian"
    epochs: int = 10
    lr: float = 1e-3
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self):
        check_number(self, "lam", low=-1e30)
        check_number(self, "lr", low=1e-30)
        for name in ("rounds", "sigma", "seed"):
            check_whole(self, name, 0)
        for name in ("epochs", "batch_size"):
            check_whole(self, name)
        for name in ("tau", "kappa"):
            if getattr(self, name) is not None:
                check_whole(self, name)
        if not callable(self.augment) and self.augment not in ("jacobian", "noise"):
            raise ValueError(
                f"augment: expected 'jacobian', 'noise' or a function, found {self.augment!r}"
            )

    def queries(self, n: int) -> int:
        """The most that is asked from ``n`` images on: n 2^ρ, or less with a reservoir."""
        for round in range(self.rounds):
            n += n if self._all(round) else min(self.kappa, n)
        return n

    def step(self, round: int) -> float:
        """λ_ρ, with its sign."""
        return self.lam * (-1) ** (0 if self.tau is None else round // self.tau)

    def __call__(
        self,
        oracle: Oracle,
        x0: Tensor,
        network: nn.Module,
        *,
        after: Callable[[SubstituteRun], object] | None = None,
        progress: bool = False,
    ) -> SubstituteRun:
        """Train ``network`` in place, and leave it in evaluation mode.

        :param oracle: labels for images; any callable, (N, C, H, W) to (N,) int64.
        :param x0: (N, C, H, W) in [0, 1], N at least 1: the attacker's own images, a few of each
            class. Their true classes are not used.
        :param network: the substitute: maps images to logits, of as many classes.
        :param after: called with the run after each round, to watch the network while it learns.
        :param progress: show a progress bar.
        :raises ValueError: images, labels or answers that break the contract.
        :raises advlab.attacks.QueryBudgetSpent: the budget is too small for ``x0``. When it is too
            small for a later round the run ends there, and what was learned stays.
        :raises SubstituteInterrupted: on Ctrl-C, with what was learned.
        """
        check_images(x0, "x0")
        check_device(network, x0)
        if not len(x0):
            raise ValueError("x0: expected at least one image, found none")
        run = SubstituteRun()
        try:
            with tqdm(total=self.rounds + 1, desc="substitute", disable=not progress) as bar:
                self._learn(oracle, x0.detach(), network, run, after, bar)
        except KeyboardInterrupt as error:
            raise SubstituteInterrupted(run=run) from error
        finally:
            network.eval()
        return run

    def _learn(self, oracle, x0, network, run: SubstituteRun, after, bar: tqdm) -> None:
        known: set[bytes] = set()
        new = x0
        for round in range(self.rounds + 1):
            try:
                _label(oracle, new, known, run)
            except QueryBudgetSpent:
                if not round:
                    raise
                run.ended = "budget"
                return
            seen = fit(
                network, (run.x, run.y), epochs=self.epochs, lr=self.lr,
                batch_size=self.batch_size, seed=self.seed + round, progress=False,
            )  # fmt: skip
            run.queries.append(len(run.x))
            run.loss.append(seen.loss[-1])
            run.agreement.append((predict(network, run.x) == run.y).double().mean().item())
            if after is not None:
                after(run)
            bar.set_postfix(queries=len(run.x), agreement=f"{run.agreement[-1]:.2%}")
            bar.update()
            if round < self.rounds:
                new = self._augmented(network, run.x, run.y, round)
        run.ended = "rounds"

    def _augmented(self, network: nn.Module, x: Tensor, y: Tensor, round: int) -> Tensor:
        if not self._all(round):
            rows = reservoir(len(x), self.kappa, self.seed + round).to(x.device)
            x, y = x[rows], y[rows]
        lam = self.step(round)
        if self.augment == "noise":
            return noise_augment(x, lam, f"augment {self.seed} {round}")
        augment = jacobian_augment if self.augment == "jacobian" else self.augment
        return augment(network, x, y, lam)

    def _all(self, round: int) -> bool:
        return self.kappa is None or round < self.sigma


def _label(oracle, x: Tensor, known: set[bytes], run: SubstituteRun) -> None:
    """Ask about the images that were not asked about before, each once, and keep the answers."""
    x = x.detach()
    keys = [image.tobytes() for image in x.cpu().double().numpy()]  # NumPy has no bfloat16
    first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in known}
    rows = torch.tensor(sorted(first.values()), dtype=torch.int64, device=x.device)
    if not len(rows):  # a network may not take a batch of none
        return
    x = x[rows]
    try:
        y = oracle(x)
    except Interrupted as error:
        # What an Oracle has answered is paid for. Of another callable these need not be labels.
        if isinstance(oracle, Oracle) and error.rows:
            _keep(run, x[: error.rows], error.done)
        raise
    check_labels(y, x, "oracle")
    known.update(first)
    _keep(run, x, y)


def _keep(run: SubstituteRun, x: Tensor, y: Tensor) -> None:
    run.x = x if run.x is None else torch.cat([run.x, x])
    run.y = y if run.y is None else torch.cat([run.y, y])
