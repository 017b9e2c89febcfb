"""Is the model robust, or is the attack blind? The checks that tell a defense from a disguise."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from tqdm.auto import tqdm

from .. import threat
from ..backend import seeded
from ..checks import check_count
from ..goals import may_reject
from ..models.contract import check_device, check_images, check_labels, check_logits, predict_logits
from .detector_sanity import DETECTOR_CHECKS, Guarded
from .sanity_checks import CHECKS, Check
from .suspect import Suspect

FEW = 50  # images below which the report warns that it can say little
VERDICTS = {True: "SUSPICIOUS", False: "passed", None: "–"}


@dataclass(frozen=True)
class Sanity:
    """What :func:`advlab.evaluation.sanity` found: print it.

    :param checks: in the order in which they were made.
    :param accuracy: of the model on the natural images, 0 to 1.
    :param robust_accuracy: of all images, 0 to 1: right, and still so (or rejected, by a model that
        may) after all the attacks of the checks that keep to ε; after the strongest of them where
        the model draws at random, since many looks would find mistakes by luck. An upper bound: a
        better attack may fool more.
    :param attacked: how many images were right at two looks, and attacked.
    :param eps: ε.
    :param norm: of ε.
    :param failed: attack → why it could not be run on this model.
    """

    checks: tuple[Check, ...]
    accuracy: float
    robust_accuracy: float
    attacked: int
    eps: float
    norm: str
    failed: dict[str, str]

    @property
    def suspicious(self) -> list[Check]:
        """The checks that found something."""
        return [check for check in self.checks if check.suspicious]

    @property
    def passed(self) -> bool:
        """No check found anything. This is no proof of robustness."""
        return not self.suspicious

    def __getitem__(self, name: str) -> Check:
        """The check of that name.

        :raises KeyError: no such check; the message lists what there is.
        """
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"{name!r}; there are: {', '.join(check.name for check in self.checks)}")

    def __str__(self) -> str:
        """The report as text: a line for each check, then what to do about the suspicious ones."""
        rows = [(c.name, VERDICTS[c.suspicious], c.numbers()) for c in self.checks]
        first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [
            f"{self.attacked} images attacked, ε = {self.eps:g} in {self.norm}; accuracy "
            f"{self.accuracy:.1%}, at most {self.robust_accuracy:.1%} under attack",
            "",
            *(f"{n:<{first}}  {v:<{second}}  {numbers}".rstrip() for n, v, numbers in rows),
        ]
        for check in self.suspicious:
            lines += ["", f"{check.name}: {check.says}"]
        for attack, why in self.failed.items():
            lines += ["", f"could not be run, and counts as fooling none: {attack}: {why}"]
        if not self.suspicious:
            lines += ["", "Nothing suspicious was found. This is no proof of robustness."]
        if self.attacked < FEW:
            lines += ["", f"Only {self.attacked} images: small effects cannot be seen."]
        return "\n".join(lines)


def sanity(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    eps: float = 0.3,
    norm: str = "Linf",
    steps: int = 40,
    surrogate: nn.Module | None = None,
    queries: int = 200,
    seed: int = 0,
    progress: bool = False,
) -> Sanity:
    """Ask whether attacks fail on a model because it is robust, or because they cannot see.

    The checks are those of Athalye et al. (2018), "Obfuscated gradients", section 3.1, of Carlini
    et al. (2019), "On evaluating adversarial robustness", and of Uesato et al. (2018). The white
    box is PGD, without knowledge of the defense.

    ============================  ================================================================
    check                         suspicious
    ============================  ================================================================
    zero gradient                 no loss has a gradient, or it is NaN or infinite
    saturated loss                the cross-entropy has no gradient, the margin of the logits has
    random gradient               two looks at the same images differ
    one step beats many           FGSM fools more than PGD
    black box beats white box     scores or transfer fool more than gradients
    random search beats gradient  points drawn from the ball fool more than PGD
    more steps keep helping       2.5 times the steps fool more: the attack is not done
    unbounded attack              with a budget for any image, PGD does not fool all
    accuracy over ε               more budget does not fool more
    adaptive beats plain          PGD that knows of the defense fools more than PGD
    ============================  ================================================================

    Attacks are compared image by image by the exact sign test (McNemar's: an image that one of two
    attacks fools and the other does not is as likely to fall to either), at a significance of 1%:
    where two attacks are equally strong, chance trips one such check in a hundred. Fractions are
    held against a stray 1% (for the unbounded attack, 2%) by the binomial tail, at the same level.
    Hence few images hardly give false alarms, and see little: with fewer than 7 images that tell
    two attacks apart no such check trips. Use 100 images or more.

    **A model that may reject** (it has an attribute ``rejected``, as
    :class:`advlab.detectors.Defended` does) is fooled where it is wrong and does not notice. It is
    asked what Carlini asked of detectors as well: trivial attacks do not work, good ones exist, and
    one without bounds takes the accuracy to 0. The white box knows of the rejection:
    :class:`advlab.attacks.AdaptivePGD`. The checks are

    ============================  ================================================================
    check                         suspicious
    ============================  ================================================================
    random noise                  of many random points of the ball some fool the whole
    false alarms                  it rejects more natural images than its threshold promised
    good attacks exist            it rejects many natural images of other classes in the place of x
    unbounded attack              with a budget for any image, neither the adaptive PGD nor C&W,
                                  :class:`advlab.attacks.AdaptiveCWL2`, fools all
    zero gradient                 as above, of the classes without "rejected"
    saturated loss                as above
    alarm without gradient        neither the alarm nor its substitute has a finite gradient
    random alarm                  two looks at the same images differ
    black box beats white box     Square, or transfer, fools more than the adaptive PGD
    accuracy over ε               more budget does not fool more
    adaptive beats plain          the adaptive PGD fools more than one that looks at classes alone
    ============================  ================================================================

    "False alarms" needs the scores that the threshold was made of, ``model.detector.calibration``;
    where there are none, as in :class:`advlab.defenses.SpecialistsPlusOne`, it does not apply and
    counts what is rejected. Nearly every detector that stops anything at all trips "adaptive beats
    plain". It says which of two numbers is the result, not that the detector is broken.

    A model that passes is not shown to be robust; one that is suspicious is not shown to be weak.
    A model that hides from one step alone (trained on FGSM, say) passes, since PGD is not fooled;
    its robust accuracy tells.
    A random defense is suspicious by design, until an attack averages over its draws.

    Where we differ: "100%" is a test of a stray 2%, and the unbounded attack starts at the image
    itself. A random start there is already noise without any digit in it, and a blind attack would
    seem to succeed.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K), or (N, K + 1) with a class
        "rejected" at the end. It may be random, masked or not
        differentiable at all: this gives a verdict, not an error.
    :param data: (x, y), images and their true classes, on the model's device.
    :param eps: ε > 0, the budget that the model is said to resist.
    :param norm: ``"Linf"`` or ``"L2"``.
    :param steps: of the PGD that is judged along with the model, at least 1.
    :param surrogate: a second model, on which images are made that are shown to the first
        (transfer); by default the black box is the Square attack alone.
    :param queries: of Square, for each image, at least 1.
    :param seed: of the attacks, and of what the model itself draws.
    :param progress: show a bar over the checks.
    :raises ValueError: images, labels or answers that break the contract, no image that the model
        has right at two looks, ε not above 0, or another norm.
    """
    x, y = data
    check_images(x)
    check_labels(y, x)
    check_device(model, x)
    if surrogate is not None:
        check_device(surrogate, x)
    norm = threat.parse_norm(norm)
    if norm not in ("Linf", "L2"):
        raise ValueError(f"norm: found {norm!r}, expected Linf or L2")
    check_count("steps", steps, 1)
    check_count("queries", queries, 1)
    if not 0 < eps < float("inf"):
        raise ValueError(f"eps: expected a finite number above 0, found {eps!r}")
    if not len(x):
        raise ValueError("data: expected at least one image, found none")
    with seeded(x.device, seed):
        check_logits(predict_logits(model, x), x, y)
        kind, checks = (Guarded, DETECTOR_CHECKS) if may_reject(model) else (Suspect, CHECKS)
        suspect = kind(
            model, x, y, eps=float(eps), norm=norm, steps=steps, surrogate=surrogate,
            queries=queries, seed=seed,
        )  # fmt: skip
        if not suspect.n:
            raise ValueError(
                f"data: the model has none of the {len(x)} images right at two looks, so there is "
                "nothing to attack; check the labels, and that images are in [0, 1]"
            )
        found = tuple(check(suspect) for check in tqdm(checks, desc="checks", disable=not progress))
    return Sanity(
        checks=found,
        accuracy=suspect.accuracy,
        robust_accuracy=int(suspect.standing.sum()) / len(x),
        attacked=suspect.n,
        eps=float(eps),
        norm=norm,
        failed=suspect.failed,
    )
