"""Several scores in one, weighed by a logistic regression that has seen an attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..backend import in_batches
from ..checks import check_count
from .base import Detector, check_detectors
from .examples import check_attack, examples


class LogisticDetector(Detector):
    """s(x) = w·f(x) + b, the logit of "adversarial" by a logistic regression on the features f(x).

    A subclass holds ``features(x)``, (N, F), and ``prepare(x, y, seed)``, which learns what they
    need from natural images. The regression learns from other images, whose features are those of
    images that nobody has seen: natural, noisy, and adversarial ones by ``attack`` that fool the
    model. Features are brought to mean 0 and deviation 1 first; adversarial images weigh as much
    as the others together. It is scikit-learn's ``LogisticRegression``.

    It knows the attack that it learned from. Of another one the weights may say the opposite.

    :param attack: ``attack(model, x, y)``.
    :param images: at most so many natural images are attacked to learn from.
    :raises ValueError: no attack, or fewer than one image; in ``fit``, an attack that fools the
        model nowhere.
    """

    def __init__(self, *, attack: Callable, images: int = 500):
        super().__init__()
        check_attack(attack)
        check_count("images", images, 1)
        self.attack, self.images = attack, images
        self.register_buffer("weights", torch.empty(0))  # (F,), w
        self.register_buffer("bias", torch.tensor(0.0))  # b

    def prepare(self, x: Tensor, y: Tensor, seed: int) -> None:
        """Learn what the features need from natural images that ``self.model`` has right."""
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, F), differentiable."""
        raise NotImplementedError

    def learn(self, x: Tensor, y: Tensor, seed: int) -> None:
        attacked = min(self.images, len(x) // 2)
        self.prepare(x[attacked:], y[attacked:], seed)
        found = examples(self.model, self.attack, x[:attacked], y[:attacked], seed=seed)
        with torch.no_grad():
            parts = (found.natural, found.noisy, found.adversarial)
            natural, noisy, adversarial = (in_batches(self.features, part) for part in parts)
        self.weights, self.bias = logistic(torch.cat((natural, noisy)), adversarial)

    def process(self, x: Tensor) -> Tensor:
        return self.features(x) @ self.weights + self.bias


def logistic(negative: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (F,) and bias of a logistic regression of the rows of one against the other.

    Each column is standardized, so that the penalty of ½‖w‖² means the same for all; what comes
    back is for columns as they are. Both sides weigh the same, however many rows they have.

    :param negative: (n, F); the logit is below 0 here.
    :param positive: (m, F); and above 0 here.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = torch.cat((negative, positive))
    label = torch.arange(len(rows)) >= len(negative)
    scale = StandardScaler()
    regression = LogisticRegression(class_weight="balanced", max_iter=1000)
    make_pipeline(scale, regression).fit(rows.double().cpu().numpy(), label.numpy())
    weights = regression.coef_[0] / scale.scale_
    bias = regression.intercept_[0] - weights @ scale.mean_
    return rows.new_tensor(weights), rows.new_tensor(bias)


class Combined(LogisticDetector):
    """s(x) = Σᵢ wᵢ sᵢ(x) + b: the scores of several detectors, weighed by a logistic regression.

    With :class:`~advlab.detectors.KernelDensity` and
    :class:`~advlab.detectors.BayesianUncertainty` this is the detector of Feinman et al. (2017),
    "Detecting adversarial samples from artifacts", section 5: the density sees attacks that end
    far from all images, the uncertainty those that end near a boundary. Any detectors will do.

    Where we differ: the scores are −log density and log uncertainty, see there. A parameter that
    the paper does not have, ``images``, bounds what is attacked. An attack that asks for
    substitutes differentiates each member by its own.

    :param detectors: one or more, fitted here together: on natural images apart from those that
        are attacked.
    :param attack: ``attack(model, x, y)``, from which the weights are learned.
    :param images: at most so many natural images are attacked to learn from.
    :raises ValueError: no detectors, something else, or the same one twice; no attack; fewer than
        one image; in ``fit``, an attack that fools the model nowhere.
    """

    def __init__(self, detectors: Sequence[Detector], *, attack: Callable, images: int = 500):
        super().__init__(attack=attack, images=images)
        check_detectors(detectors)
        self.detectors = nn.ModuleList(detectors)

    def prepare(self, x: Tensor, y: Tensor, seed: int) -> None:
        for detector in self.detectors:
            detector.fit(self.model, (x, y), seed=seed)

    def features(self, x: Tensor) -> Tensor:
        return torch.stack([detector(x) for detector in self.detectors], 1)
