"""What every detector does around its own few lines: fit, score, threshold, and be attacked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ..backend import generator, in_batches
from ..checks import check_rate
from ..data import Dataset
from ..models.contract import (
    check_device,
    check_images,
    check_labels,
    check_model,
    forward_of,
    frozen,
    predict,
)
from ..models.preprocessing import Substitutable

HELD_OUT = 0.25  # of the images given to fit, those that only the threshold is made of


class Detector(Substitutable):
    """A score for each image, higher where it is more suspicious.

    ``detector.fit(model, (x, y))`` learns what natural images look like to the model, and
    ``detector.score(x)`` then says how unlike them others are. ``detector.threshold(0.05)`` is the
    score above which at most 5% of natural images lie. ``detector.defended(0.05)`` is the model
    that rejects what lies above it, and attacks run on that.

    A subclass holds ``learn(x, y)``, which may use ``self.model``, and ``process(x)``, the score
    of a batch. Where the score has no gradient of use it also holds ``substitute(x)``, a smooth
    stand-in: an attack with ``backward="substitute"`` makes its images with that, and the score
    itself judges them. What is learned is kept as buffers or parts, so that it moves with the
    detector and can be saved. The model is no part of it: another detector, made with the same
    arguments, takes it up by ``other.load_state_dict(detector.state_dict())`` and
    ``other.watch(model)``.

    :ivar model: that it watches; None before ``fit``.
    :ivar calibration: (n,), the scores of natural images that it did not learn from, ascending.
    """

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "model", None)  # watched, not a part
        self.register_buffer("calibration", torch.empty(0))

    @property
    def exact(self) -> bool:
        """Whether the substitute's value is the score itself: then it alone is run."""
        return type(self).substitute is Detector.substitute

    def takes(self, backward) -> bool:
        """A score can be differentiated as it is, or by its substitute."""
        return backward in ("own", "substitute")

    def substitute(self, x: Tensor) -> Tensor:
        """A differentiable stand-in for the score; by default the score itself."""
        return self.process(x)

    def fit(
        self, model: nn.Module, data: Dataset | tuple[Tensor, Tensor], *, seed: int = 0
    ) -> Self:
        """Learn what natural images look like to the model.

        Of the images that the model has right, three quarters are learned from and the others are
        scored for :meth:`threshold`. Give images that the model was not trained on where you can:
        on its own training images it looks surer than it is.

        :param model: maps (N, C, H, W) in [0, 1] to logits (N, K); left as it was found.
        :param data: a :class:`~advlab.data.Dataset`, of which the training split is used, or
            (x, y), natural images and their classes, on the model's device.
        :param seed: of what is held out, and of what is drawn while it learns.
        :returns: the detector itself.
        :raises ValueError: images or labels that break the contract, or too few that are right.
        """
        x, y = data.train if isinstance(data, Dataset) else data
        check_model(model)
        check_images(x)
        check_labels(y, x)
        check_device(model, x)
        right = (predict(model, x) == y).nonzero().squeeze(1)
        held_out = max(1, round(HELD_OUT * len(right)))
        if len(right) <= held_out:
            raise ValueError(
                f"data: expected images that the model has right, found {len(right)} of {len(x)}; "
                "check the labels, and that images are in [0, 1]"
            )
        order = right[torch.randperm(len(right), generator=generator(seed)).to(right.device)]
        object.__setattr__(self, "model", model)
        self.to(x.device)
        learned = order[held_out:]
        with torch.inference_mode(False), frozen(model):
            self.learn(x[learned], y[learned], seed)
        self.calibrate(x[order[:held_out]])
        return self

    def watch(self, model: nn.Module) -> Self:
        """Watch this model with what was loaded: ``load_state_dict`` comes first.

        :param model: the one that the detector was fitted to, or a copy of it, on its device.
        :returns: the detector itself.
        :raises ValueError: nothing was learned or loaded.
        """
        check_model(model)
        if not len(self.calibration):
            raise ValueError(
                f"{type(self).__name__}: nothing is learned yet; call .fit(model, (x, y)), or "
                ".load_state_dict of one that is fitted"
            )
        for part in self.modules():
            if isinstance(part, Detector):
                object.__setattr__(part, "model", model)
        return self

    def learn(self, x: Tensor, y: Tensor, seed: int) -> None:
        """Learn from natural images that ``self.model``, frozen, has right."""

    def calibrate(self, x: Tensor) -> Self:
        """Make the threshold from the scores of these natural images, in place of those of fit."""
        scores = self.score(x)
        if not len(x) or not scores.isfinite().all():
            raise ValueError(
                f"x: expected natural images with finite scores, found "
                f"{int(scores.isfinite().sum())} of {len(x)}"
            )
        self.calibration = scores.sort().values
        return self

    def score(self, x: Tensor, *, batch_size: int | None = None) -> Tensor:
        """How suspicious each image is, (N,), without gradients; it judges.

        :param x: (N, C, H, W), in [0, 1].
        :raises ValueError: images that break the contract, or a detector that is not fitted.
        """
        check_images(x)
        model = self.fitted()
        check_device(model, x)
        with frozen(model), frozen(self), torch.no_grad():
            return in_batches(forward_of(_Own(self)), x, batch_size=batch_size)

    def fitted(self) -> nn.Module:
        """The model that it watches.

        :raises ValueError: there is none yet.
        """
        if self.model is None:
            raise ValueError(
                f"{type(self).__name__}: not fitted yet; call .fit(model, (x, y)) first"
            )
        return self.model

    def threshold(self, false_positive_rate: float = 0.05) -> float:
        """The lowest of the calibration scores that at most that share of them exceed.

        :param false_positive_rate: of natural images that are rejected, from 0 to 1.
        :raises ValueError: a rate outside of that, or a detector that is not fitted.
        """
        check_rate("false_positive_rate", false_positive_rate)
        self.fitted()
        n = len(self.calibration)
        above = math.floor(false_positive_rate * n + 1e-9)
        return self.calibration[n - above - 1].item() if above < n else -math.inf

    @property
    def spread(self) -> float:
        """The standard deviation of the calibration scores, which differences are told in."""
        deviation = self.calibration.cpu().double().std(correction=0).item()
        return deviation if deviation > 0 else 1.0

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        # Only a fit decides how much is kept: make room for what comes.
        for name, mine in self.named_buffers(recurse=False):
            saved = state_dict.get(prefix + name)
            if saved is not None:
                setattr(self, name, mine.new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def defended(self, false_positive_rate: float = 0.05):
        """The model with this detector in front: see :class:`advlab.detectors.Defended`."""
        from .defended import Defended

        return Defended(self, self.threshold(false_positive_rate))


def check_detectors(detectors: Sequence) -> None:
    """Check that these are detectors, one or more, and each another one.

    :raises ValueError: they are not.
    """
    wrong = [type(d).__name__ for d in detectors if not isinstance(d, Detector)]
    if wrong or not detectors or len(set(detectors)) < len(detectors):
        raise ValueError(
            "detectors: expected different advlab.detectors.Detector, at least one, found "
            f"{', '.join(wrong) or f'{len(detectors)}, {len(set(detectors))} different'}"
        )


class _Own(nn.Module):
    """The score itself, however attacks may have it differentiated."""

    def __init__(self, detector: Detector):
        super().__init__()
        object.__setattr__(self, "detector", detector)

    def forward(self, x: Tensor) -> Tensor:
        return self.detector.process(x)
