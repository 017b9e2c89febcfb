"""Parts of a model that say how they are differentiated: what BPDA needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BACKWARDS = ("own", "identity", "substitute")


class Substitutable(nn.Module):
    """g(x), a function with a smooth stand-in for its gradient: :class:`Preprocessing`, or the
    score of a detector.

    A subclass holds the function in :meth:`process` and its stand-in in :meth:`substitute`.

    :param backward: how it is differentiated, see :class:`Preprocessing`.
    :raises ValueError: another name.
    """

    exact = False

    def __init__(self, backward: str | Callable[[Tensor], Tensor] = "own"):
        super().__init__()
        self.backward = backward

    def __setattr__(self, name: str, value) -> None:
        if name == "backward":
            check_backward(value)
            # A plain attribute: a module would make a network a child, and no string could follow.
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def takes(self, backward: str | Callable) -> bool:
        """Whether an attack may ask for it to be differentiated in that way."""
        return True

    def process(self, x: Tensor) -> Tensor:
        """g(x), for images (N, C, H, W) in [0, 1]."""
        raise NotImplementedError

    def substitute(self, x: Tensor) -> Tensor:
        """A differentiable stand-in for :meth:`process`, of the same shape."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        if self.backward == "own":
            return self.process(x)
        if self.backward == "substitute" and self.exact:
            return self.substitute(x)
        with torch.no_grad():
            out = self.process(x)
        if not torch.is_grad_enabled():
            return out
        stand_in = {"identity": lambda x: x, "substitute": self.substitute}
        smooth = self.backward if callable(self.backward) else stand_in[self.backward]
        smooth = smooth(x)
        if smooth.shape != out.shape:
            raise ValueError(
                f"{type(self).__name__}: backward={self.backward!r} gives shape "
                f"{tuple(smooth.shape)}, and the step {tuple(out.shape)}; "
                "use backward='substitute', or a function that gives the step's shape"
            )
        return out + (smooth - smooth.detach())  # what is added is exactly 0


class Preprocessing(Substitutable):
    """g(x), what is done to an image before a network sees it: ``nn.Sequential(g, network)``.

    A step that rounds has the gradient 0, one that searches has none, one that draws at random has
    another at each look: attacks that follow the gradient fail, and the model looks robust. The
    backward pass differentiable approximation, BPDA, of Athalye et al. (2018), "Obfuscated
    gradients give a false sense of security", section 4.1: forward the step itself, backward
    something smooth that stands for it. The answer is exactly g(x) in every case.

    A subclass holds the step in :meth:`process`, and, where the identity is a poor stand-in, a
    better one in :meth:`substitute`. One whose stand-in gives g(x) itself, with another gradient,
    says ``exact = True``: the stand-in alone is run, once, and of a step that draws at random it is
    the draw that was seen.

    :param backward: how it is differentiated: ``"own"``, as autograd does it; ``"identity"``, as if
        the step were not there, for steps that keep the shape; ``"substitute"``, by
        :meth:`substitute`; or a function of x that is differentiated in place of the step. A
        network may be that function, and is no part of the model: its weights are saved, moved and
        put in evaluation mode by whoever gives it. ``attack.changed(backward="substitute")`` asks
        for another one while an attack runs.
    :raises ValueError: another name.
    """

    def process(self, x: Tensor) -> Tensor:
        """g(x): images (N, C, H, W) in [0, 1] to what the network takes."""
        raise NotImplementedError

    def substitute(self, x: Tensor) -> Tensor:
        """A differentiable stand-in for :meth:`process`, of the same shape; by default x itself."""
        return x


class BPDA(Preprocessing):
    """Any function as a step, with a stand-in for its gradient.

    :param function: g, images (N, C, H, W) to what the network takes.
    :param backward: see :class:`Preprocessing`; by default ``"identity"``, the gradient passes.
    :raises ValueError: another name.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        backward: str | Callable[[Tensor], Tensor] = "identity",
    ):
        super().__init__(backward)
        self.function = function

    def process(self, x: Tensor) -> Tensor:
        return self.function(x)


def steps_in_front(model: nn.Module) -> list[Preprocessing]:
    """The :class:`Preprocessing` steps of the model, in order."""
    return [module for module in model.modules() if isinstance(module, Preprocessing)]


def check_backward(backward: str | Callable | None, *, unset: bool = False) -> None:
    """Check how a step is to be differentiated.

    :param unset: None, as the steps themselves say, will do as well.
    :raises ValueError: neither a function nor one of ``BACKWARDS``.
    """
    if unset and backward is None:
        return
    if not callable(backward) and backward not in BACKWARDS:
        raise ValueError(
            f"backward: found {backward!r}, expected {', '.join(map(repr, BACKWARDS))} "
            "or a function of x"
        )


@contextmanager
def differentiated(model: nn.Module, backward: str | Callable | None) -> Iterator[nn.Module]:
    """Inside, every :class:`Preprocessing` in the model is differentiated in that way.

    So is the score of every detector for which there is such a way.

    :param backward: as :class:`Preprocessing` has it; None changes nothing.
    """
    parts = (m for m in model.modules() if isinstance(m, Substitutable))
    steps = [part for part in parts if part.takes(backward)] if backward else []
    before = [step.backward for step in steps]
    try:
        for step in steps:
            step.backward = backward
        yield model
    finally:
        for step, own in zip(steps, before, strict=True):
            step.backward = own
