"""Bounded ReLU: an activation that cannot grow without end, so that errors cannot either."""

from __future__ import annotations

import copy
import math
from numbers import Real

from torch import nn

from ..models.contract import check_model


class BoundedReLU(nn.Hardtanh):
    """f_t(x) = min(max(x, 0), t), for any shape. Zantedeschi et al. (2017).

    Two activations differ by at most t, whatever the inputs. So a linear layer (W, b) on top of it
    moves by at most t Σⱼ \\|Wᵢⱼ\\| in its output i, however large the perturbation. The gradient is
    0 from t on: an attack may lose its way there, which is no robustness.

    :param t: above 0.
    :raises ValueError: a t that is not above 0.
    """

    def __init__(self, t: float, inplace: bool = False):
        if not (isinstance(t, Real) and 0 < t < math.inf):
            raise ValueError(f"t: expected a finite number above 0, found {t!r}")
        super().__init__(0.0, float(t), inplace)

    @property
    def t(self) -> float:
        """The bound."""
        return self.max_val

    def extra_repr(self) -> str:
        return f"t={self.t:g}"


def bounded(model: nn.Module, t: float) -> nn.Module:
    """A copy of a network, each ``nn.ReLU`` made a :class:`advlab.defenses.BoundedReLU`.

    Weights and modes are kept. Only modules can be seen: a call of ``torch.relu`` inside a forward
    stays without a bound, and so do other activations (``nn.LeakyReLU``, ``nn.ReLU6``). The copy
    answers alike as long as no activation is above t. Train it: a network that learned without a
    bound does not expect one.

    :param model: left as it is.
    :param t: above 0.
    :raises ValueError: a t that is not above 0, or a model that has no ``nn.ReLU`` modules or
        cannot be copied.
    """
    check_model(model)
    found = 0
    try:
        twin = copy.deepcopy(model)
    except RuntimeError as error:  # torch copies no tensor that was computed from others
        raise ValueError(
            f"model: {type(model).__name__} cannot be copied, since it holds a tensor that was "
            "computed from its weights; detach it"
        ) from error
    # A root that holds the copy, so that a model that is a lone ReLU is no special case.
    root = nn.ModuleList([twin])
    for parent in list(root.modules()):
        # Not named_children, which names a module that stands in two places only once.
        for name, child in parent._modules.items():
            if isinstance(child, nn.ReLU):
                parent._modules[name] = BoundedReLU(t, child.inplace).train(child.training)
                found += 1
    if not found:
        raise ValueError(
            f"model: expected nn.ReLU modules to replace, found none in {type(model).__name__}; "
            "a call of torch.relu inside forward cannot be seen: write it as a module"
        )
    return root[0]
