"""How well detectors tell adversarial images from natural ones, judged as their papers do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..checks import check_rate
from ..detectors import Detector, Examples, examples
from ..models.contract import check_device, check_images, check_labels
from .roc import Roc, detection_auc, roc_curve, true_positive_rate
from .table import aligned


@dataclass(frozen=True, eq=False)
class DetectionScores:
    """What one detector said of the images of one attack.

    :param detector: its name.
    :param attack: its name.
    :param natural: (n,), scores of images that the model has right.
    :param noisy: (n,), scores of the same images with noise of the perturbation's size.
    :param adversarial: (n,), scores of the attacked images, all of which fool the model.
    """

    detector: str
    attack: str
    natural: Tensor
    noisy: Tensor
    adversarial: Tensor

    @classmethod
    def of(
        cls, detector: Detector, examples: Examples, names: tuple[str, str] = ("", "")
    ) -> DetectionScores:
        """The scores of images that are there already, made by an attack that knows the detector,
        say.

        :param detector: fitted.
        :param names: of the detector and of the attack.
        """
        kinds = (examples.natural, examples.noisy, examples.adversarial)
        # All at once: some scores cost nearly as much for few images as for many.
        scores = detector.score(torch.cat(kinds)).cpu()
        return cls(*names, *scores.split([len(kind) for kind in kinds]))

    @property
    def negatives(self) -> Tensor:
        """(2n,), the scores that should be low: of natural and of noisy images."""
        return torch.cat((self.natural, self.noisy))

    @property
    def auc(self) -> float:
        """See :func:`advlab.evaluation.detection_auc`."""
        return detection_auc(self.negatives, self.adversarial)

    @property
    def curve(self) -> Roc:
        """See :func:`advlab.evaluation.roc_curve`."""
        return roc_curve(self.negatives, self.adversarial)

    def true_positive_rate(self, false_positive_rate: float = 0.05) -> float:
        """See :func:`advlab.evaluation.true_positive_rate`."""
        return true_positive_rate(self.negatives, self.adversarial, false_positive_rate)


@dataclass(frozen=True, eq=False)
class Detection:
    """What :func:`~advlab.evaluation.detection` found: print it, ``plot()`` it, or take ``rows()``.

    ``found["LID", "FGSM"]`` holds the scores of one detector under one attack.

    :param scores: detector by detector, and in each attack by attack.
    :param detectors: their names, the rows.
    :param attacks: their names, the columns.
    :param false_positive_rate: at which the table counts what is caught.
    """

    scores: tuple[DetectionScores, ...]
    detectors: tuple[str, ...]
    attacks: tuple[str, ...]
    false_positive_rate: float

    def __getitem__(self, names: tuple[str, str]) -> DetectionScores:
        """The scores of that detector under that attack.

        :raises KeyError: no such pair; the message lists what there is.
        """
        for scores in self.scores:
            if (scores.detector, scores.attack) == names:
                return scores
        raise KeyError(
            f"{names!r}; there are the detectors {', '.join(self.detectors)} and the attacks "
            f"{', '.join(self.attacks)}"
        )

    def curves(self, attack: str) -> dict[str, Roc]:
        """Detector → its ROC curve under that attack, as :func:`advlab.viz.roc` draws them."""
        return {detector: self[detector, attack].curve for detector in self.detectors}

    def rows(self) -> list[dict[str, str | int | float]]:
        """A plain dict for each detector and attack, ready for JSON."""
        return [
            {
                "detector": scores.detector,
                "attack": scores.attack,
                "adversarial_images": len(scores.adversarial),
                "auc": scores.auc,
                "false_positive_rate": self.false_positive_rate,
                "true_positive_rate": scores.true_positive_rate(self.false_positive_rate),
            }
            for scores in self.scores
        ]

    def __str__(self) -> str:
        """Two tables as text: the areas under the curves, and what is caught at the rate asked."""
        at = f"caught where {self.false_positive_rate:.1%} of natural and noisy images raise alarm"
        cells = {(row["detector"], row["attack"]): row for row in self.rows()}

        def table(measure: str) -> str:
            rows = [
                [name, *(f"{cells[name, attack][measure]:.1%}" for attack in self.attacks)]
                for name in self.detectors
            ]
            return aligned(["detector", *self.attacks], rows)

        return "\n".join(
            [
                "ROC-AUC: adversarial images that fool the model, against natural and noisy ones",
                table("auc"),
                "",
                at,
                table("true_positive_rate"),
                "",
                "adversarial images: " + ", ".join(f"{a} {self._counted(a)}" for a in self.attacks),
            ]
        )

    def plot(self):
        """The areas under the curves as a map, a row a detector. A matplotlib Figure."""
        from ..viz import heatmap

        areas = [[self[d, a].auc for a in self.attacks] for d in self.detectors]
        return heatmap(
            torch.tensor(areas),
            self.detectors,
            self.attacks,
            row_label="detector",
            column_label="ROC-AUC under attack (50%: a coin)",
        )

    def _counted(self, attack: str) -> str:
        """How many images: one number, or two where the detectors watch different models."""
        counts = sorted({len(self[d, attack].adversarial) for d in self.detectors})
        return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def detection(
    detectors: Mapping[str, Detector],
    attacks: Mapping[str, Callable] | Iterable[Callable],
    data: tuple[Tensor, Tensor],
    *,
    false_positive_rate: float = 0.05,
    seed: int = 0,
    progress: bool = False,
) -> Detection:
    """Attack the models that detectors watch, and ask each detector which images were attacked.

    As Feinman et al. (2017), section 5, and Ma et al. (2018), section 5.1: of the images that the
    model has right, those count whose attack fools it. Their adversarial versions should have high
    scores; the natural images, and the same with noise of the perturbation's size, low ones. Of
    noise that alone raised the alarm, a detector would call every blurred photograph an attack.

    The attacks do not know of the detectors ("grey box"), so this is the easier half of the
    question: see :func:`advlab.evaluation.outcomes` for attacks on the whole. Detectors that watch
    one model see the same images; for each model they are made once.

    :param detectors: name → fitted detector.
    :param attacks: name → ``attack(model, x, y)``, or attacks, which then go by their own names.
    :param data: (x, y), images that neither models nor detectors learned from, and their classes.
    :param false_positive_rate: at which the table counts what is caught.
    :param seed: of the noise.
    :param progress: show a bar over the attacks.
    :raises ValueError: no detector or attack, one that is not fitted, a rate outside of 0 to 1, two
        attacks of one name, an attack that fools none of the images, or broken images or labels.
    """
    x, y = data
    check_images(x)
    check_labels(y, x)
    check_rate("false_positive_rate", false_positive_rate)
    attacks = named_attacks(attacks)
    for role, chosen in (("detectors", detectors), ("attacks", attacks)):
        if not len(chosen):
            raise ValueError(f"{role}: expected at least one, found none")
    watched = {id(d.fitted()): d.fitted() for d in detectors.values()}
    for model in watched.values():
        check_device(model, x)
    found: dict[tuple[str, str], DetectionScores] = {}
    for attack, run in tqdm(attacks.items(), desc="attacks", disable=not progress):
        made = {key: examples(model, run, x, y, seed=seed) for key, model in watched.items()}
        for name, detector in detectors.items():
            images = made[id(detector.fitted())]
            found[name, attack] = DetectionScores.of(detector, images, (name, attack))
    return Detection(
        scores=tuple(found[name, attack] for name in detectors for attack in attacks),
        detectors=tuple(detectors),
        attacks=tuple(attacks),
        false_positive_rate=float(false_positive_rate),
    )


def named_attacks(attacks: Mapping[str, Callable] | Iterable[Callable]) -> dict[str, Callable]:
    """The attacks by name.

    :raises ValueError: two of one name.
    """
    if isinstance(attacks, Mapping):
        return dict(attacks)
    attacks = list(attacks)
    names = [str(attack) for attack in attacks]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"attacks: two are named {twice!r}; pass a dict to name them")
    return dict(zip(names, attacks, strict=True))
