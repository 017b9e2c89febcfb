"""What a bound needs to know of a network: a list of steps, each affine, clamped or a maximum.

Bounds are computed layer by layer, so they need the layers themselves and not only answers. Any
nesting of ``nn.Sequential`` of the layers below becomes a flat list of three kinds of step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.normalized import Normalized

SUPPORTED = (
    "Linear, Conv2d, ReLU, ReLU6, BoundedReLU, Hardtanh from 0, MaxPool2d, AvgPool2d, "
    "AdaptiveAvgPool2d, BatchNorm1d, BatchNorm2d, Flatten, Normalized, and Dropout and "
    "Identity, which do nothing"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Affine:
    """z ↦ Wz + b, by its actions: W itself may be too large to write down.

    :param power: ``power(z, p)`` is Wᵖ z, where Wᵖ holds \\|Wᵢⱼ\\|ᵖ; (B, \\*in) to (B, \\*out).
    :param apply: W z, (B, \\*in) to (B, \\*out).
    :param transpose: Wᵀ a, (B, \\*out) to (B, \\*in).
    :param bias: b, of a shape that broadcasts to (\\*out), or None.
    :param mixes: whether an output depends on more than one input.
    """

    apply: Callable[[Tensor], Tensor]
    power: Callable[[Tensor, int], Tensor]
    transpose: Callable[[Tensor], Tensor]
    bias: Tensor | None = None
    mixes: bool = True

    def __call__(self, z: Tensor) -> Tensor:
        out = self.apply(z)
        return out if self.bias is None else out + self.bias

    def back(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Σᵢ aᵢ (Wz + b)ᵢ as sums over z: (N, S, \\*out) to Wᵀa, (N, S, \\*in), and a·b, (N, S)."""
        before = self.transpose(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        if self.bias is None:
            return before, rows.new_zeros(rows.shape[:2])
        return before, (rows * self.bias).flatten(2).sum(2)


@dataclass(frozen=True)
class Clamp:
    """z ↦ min(max(z, 0), top): the ReLU, whose top is infinite, and the bounded ReLU."""

    top: float = math.inf

    def __call__(self, z: Tensor) -> Tensor:
        return z.clamp(0, self.top)


@dataclass(frozen=True)
class Maximum:
    """z ↦ the largest of each window: ``nn.MaxPool2d``. The arguments are those of the layer."""

    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: int | tuple[int, int]
    dilation: int | tuple[int, int]

    def __call__(self, z: Tensor) -> Tensor:
        return self.pick(z)[0]

    def pick(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The largest, and where each came from: an index into the H · W places of its channel."""
        return F.max_pool2d(
            z, self.kernel_size, self.stride, self.padding, self.dilation, return_indices=True
        )

    def rivals(self, z: Tensor, where: Tensor) -> Tensor:
        """The largest of each window without the place ``where``; −∞ where no other is left."""
        n, c, h, w = z.shape
        pad = self.padding
        high, wide = (pad, pad) if isinstance(pad, int) else pad
        place = torch.arange(h * w, device=z.device, dtype=z.dtype).view(1, 1, h, w)
        values = F.pad(z.reshape(n * c, 1, h, w), (wide, wide, high, high), value=-math.inf)
        places = F.pad(place, (wide, wide, high, high), value=-1)
        windows = [
            F.unfold(t, self.kernel_size, dilation=self.dilation, stride=self.stride)
            for t in (values, places)
        ]
        mine = windows[1].long() == where.reshape(n * c, 1, -1)
        return windows[0].masked_fill(mine, -math.inf).amax(1).view(where.shape)


Step = Affine | Clamp | Maximum


def steps_of(model: nn.Module, x: Tensor) -> tuple[list[Step], list[torch.Size]]:
    """The network as a list of steps, and the shape of one image before each and after the last.

    Batch normalization counts as in evaluation mode, by its running statistics, and dropout does
    nothing: a guarantee is about the network that is used. Gradients flow into the parameters.
    Hooks that change what a layer answers are not seen.

    :param x: (N, C, H, W), whose shape matters; weights are taken to its precision and device.
    :raises ValueError: a layer that is not supported; the message names the first.
    """
    steps: list[Step] = []
    z = x.new_zeros(1, *x.shape[1:])
    shapes = [z.shape[1:]]
    for name, module in leaves(model):
        step = _step(name, module, z)
        if step is not None:
            z = step(z).detach()
            steps.append(step)
            shapes.append(z.shape[1:])
    if len(shapes[-1]) != 1:
        found = ", ".join(map(str, shapes[-1]))
        raise ValueError(f"model: expected logits (N, K), found (N, {found})")
    if shapes[-1].numel() < 2:
        raise ValueError("model: expected at least 2 classes, found logits of 1")
    return steps, shapes


def leaves(model: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers in order, under their names in the model."""
    if _is(model, nn.Sequential):
        # Not named_children, which names a module that stands in two places only once.
        for child_name, child in model._modules.items():
            yield from leaves(child, f"{name}.{child_name}" if name else child_name)
    else:
        yield name or "the model itself", model


def _is(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether it computes what one of these does: a subclass with a forward of its own may not."""
    return any(isinstance(module, k) and type(module).forward is k.forward for k in kinds)


def _step(name: str, module: nn.Module, z: Tensor) -> Step | None:
    if _is(module, nn.Identity, nn.Dropout, nn.Dropout2d):
        return None
    if _is(module, nn.Linear):
        return _linear(module, z)
    if _is(module, nn.Conv2d) and module.padding_mode == "zeros":
        return _convolution(module, z)
    if _is(module, nn.ReLU):
        return Clamp()
    # nn.ReLU6 and the bounded ReLU are clamps of this kind too.
    if _is(module, nn.Hardtanh) and module.min_val == 0:
        return Clamp(float(module.max_val))
    if _is(module, nn.MaxPool2d) and not module.ceil_mode:
        return Maximum(module.kernel_size, module.stride, module.padding, module.dilation)
    if _is(module, nn.AvgPool2d, nn.AdaptiveAvgPool2d):
        return _average(module, z)
    if _is(module, nn.BatchNorm1d, nn.BatchNorm2d) and module.track_running_stats:
        scale = (module.running_var.to(z) + module.eps).rsqrt()
        if module.weight is not None:
            scale = scale * module.weight.to(z)
        shift = -module.running_mean.to(z) * scale
        if module.bias is not None:
            shift = shift + module.bias.to(z)
        shape = (-1, *[1] * (z.ndim - 2))
        return _scale(scale.view(shape), shift.view(shape))
    if _is(module, Normalized):
        mean, std = module.mean.to(z), module.std.to(z)
        return _scale(1 / std, -mean / std)
    if _is(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
        shape = z.shape[1:]
        return Affine(
            apply=lambda z: z.flatten(1),
            power=lambda z, p: z.flatten(1),
            transpose=lambda a: a.reshape(-1, *shape),
            mixes=False,
        )
    raise ValueError(
        f"model: layer {name!r} is {module}, for which there are no bounds; expected nested "
        f"nn.Sequential of {SUPPORTED}"
    )


def _linear(module: nn.Linear, like: Tensor) -> Affine:
    weight = module.weight.to(like)
    return Affine(
        apply=lambda z: z @ weight.T,
        power=lambda z, p: z @ weight.abs().pow(p).T,
        transpose=lambda a: a @ weight,
        bias=None if module.bias is None else module.bias.to(like),
    )


def _convolution(module: nn.Conv2d, z: Tensor) -> Affine:
    weight = module.weight.to(z)
    how = (module.stride, module.padding, module.dilation, module.groups)
    if module.padding == "same":
        raise ValueError("model: Conv2d with padding='same': give the padding as a number")
    if module.padding == "valid":
        how = (module.stride, 0, module.dilation, module.groups)
    shape = z.shape[1:]
    return Affine(
        apply=lambda z: F.conv2d(z, weight, None, *how),
        power=lambda z, p: F.conv2d(z, weight.abs().pow(p), None, *how),
        transpose=lambda a: nn.grad.conv2d_input((len(a), *shape), weight, a, *how),
        bias=None if module.bias is None else module.bias.to(z).view(-1, 1, 1),
    )


def _scale(scale: Tensor, shift: Tensor) -> Affine:
    return Affine(
        apply=lambda z: z * scale,
        power=lambda z, p: z * scale.abs().pow(p),
        transpose=lambda a: a * scale,
        bias=shift,
        mixes=False,
    )


def _average(module: nn.AvgPool2d | nn.AdaptiveAvgPool2d, z: Tensor) -> Affine:
    """A mean over windows. Its weights, and their squares, follow from its own derivative."""
    shape = z.shape[1:]

    def transpose(a: Tensor) -> Tensor:
        # Linear, so its derivative is the same everywhere.
        return torch.func.vjp(module, a.new_zeros(len(a), *shape))[1](a)[0]

    # The matrix of one channel: all channels have the same.
    with torch.no_grad():
        units = torch.eye(shape[1] * shape[2], dtype=z.dtype, device=z.device)
        matrix = module(units.view(-1, 1, *shape[1:])).flatten(1)

    def power(z: Tensor, p: int) -> Tensor:
        out = z.flatten(2) @ matrix.abs().pow(p)
        return out.view(*z.shape[:2], *module(z[:1, :1]).shape[2:])

    return Affine(apply=module, power=power, transpose=transpose)
