"""Label smoothing: a network that is asked not to be quite sure."""

from __future__ import annotations

from dataclasses import dataclass

from ..training import CrossEntropy


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing(CrossEntropy):
    """−Σₖ qₖ log softmax(f(x))ₖ with q = (1 − s) · one-hot(y) + s / K. Warde-Farley & Goodfellow
    (2016).

    This is :class:`advlab.training.CrossEntropy` under the name of the defense, and with another
    default. As an L₀ it composes: ``GaussianAugmentation(objective=LabelSmoothing())``.

    The plain loss falls for ever as the logits grow. This one is least where the true logit is
    above the others, all equal, by log(1 + K(1 − s)/s): 4.5 for s = 0.1 and K = 10. Small logits
    are not yet a boundary further away; DeepFool and C&W, which do not look at sizes of logits,
    tell.

    Some write 1 − s′ for the true class and s′/(K − 1) for each of the others; that is
    s = s′ K/(K − 1).

    :param label_smoothing: s, from 0 up to, but not including, 1.
    :raises ValueError: a smoothing outside that range.
    """

    label_smoothing: float = 0.1
