"""Defensive distillation: a teacher and a student at a high temperature, asked at 1."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checks import check_number
from ..models.contract import check_model, device_of
from .inner import evaluating


class Temperature(nn.Module):
    """z / T: logits (N, K) to logits (N, K), less sure of themselves, with the same order.

    ``nn.Sequential(student, Temperature(T))`` is a distilled network whose softmax is as soft as
    it was in training. It names the same classes, and its gradients are those that T = 1 hides:
    what fools it fools the student.

    :param temperature: T, at least 10⁻⁶.
    :raises ValueError: out of this range.
    """

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = temperature
        check_number(self, "temperature", 1e-6)

    def forward(self, logits: Tensor) -> Tensor:
        return logits / self.temperature

    def extra_repr(self) -> str:
        return f"temperature={self.temperature:g}"


@dataclass(frozen=True, kw_only=True)
class HardLabels:
    """−log softmax(f(x) / T)[y], the mean over the batch: the teacher's loss at temperature T.

    Papernot et al. (2016), section IV. The gradient in the logits is (softmax(f(x)/T) − one-hot(y))
    / T. Training makes up for the division: to be as sure as a plain network, the logits grow about
    T times as large. Asked at T = 1, the softmax is then 1 and 0 to the last digit.

    :param temperature: T, at least 10⁻⁶; 1 is the plain loss.
    :raises ValueError: out of this range.
    """

    temperature: float = 20.0

    def __post_init__(self):
        check_number(self, "temperature", 1e-6)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x) / self.temperature, y)


@dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """−Σₖ pₖ log softmax(f(x) / T)ₖ with p = softmax(teacher(x) / T), the mean over the batch.

    Defensive distillation, Papernot et al. (2016), section IV: a student of the teacher's own kind
    learns the teacher's probabilities at the same T at which the teacher was trained
    (:class:`advlab.defenses.HardLabels`), and is then asked at T = 1. The labels are not used. The
    gradient in the logits is (softmax(f(x)/T) − p) / T.

    As a defense it hides the gradient of the cross-entropy: at T = 1 the student's softmax is 1 and
    0 to the last digit of float32, and the gradient is exactly 0. A loss of logits (C&W's margin)
    or :class:`advlab.defenses.Temperature` brings it back: Carlini & Wagner (2017), section VIII.

    To distill is ``fit(student, data, objective=SoftLabels(teacher=teacher, temperature=T))``. The
    paper labels the training set once; here the teacher is asked at every step, which keeps no copy
    and lets images be augmented. There is no factor T², as Hinton et al. (2015) have it beside a
    loss of hard labels; Adam would not notice it.

    :param teacher: images (N, C, H, W) to logits (N, K); asked in evaluation mode, where it is, and
        left as it was found.
    :param temperature: T, at least 10⁻⁶.
    :param name: of the teacher, for cards and checkpoints.
    :raises ValueError: a temperature out of this range, or a teacher of other classes than the
        student.
    :raises TypeError: a teacher that is no ``torch.nn.Module``.
    """

    teacher: nn.Module = field(repr=False)
    temperature: float = 20.0
    name: str = "teacher"

    def __post_init__(self):
        check_model(self.teacher)
        check_number(self, "temperature", 1e-6)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        where = device_of(self.teacher) or x.device
        with torch.no_grad(), evaluating(self.teacher):
            logits = self.teacher(x.to(where)).to(x.device)
        p, answer = (logits / self.temperature).softmax(1), model(x)
        if answer.shape != p.shape:
            raise ValueError(
                f"teacher: expected logits of shape {tuple(answer.shape)}, as the student's, found "
                f"{tuple(p.shape)}; a student learns the classes of its teacher"
            )
        return F.cross_entropy(answer / self.temperature, p)
