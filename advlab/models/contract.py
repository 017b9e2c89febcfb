"""The one contract: a model maps images (N, C, H, W) in [0, 1] to logits (N, K).

Everything that calls a model goes through here, so that a broken contract is told in words where
it happens, and a model is left exactly as it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..backend import in_batches
from ..images import check_images


@contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """On the way out, every submodule's mode and every parameter's ``requires_grad`` are put back.

    Not for one model in two threads at a time.
    """
    modes = [(m, m.training) for m in model.modules() if hasattr(m, "training")]
    grads = [(p, p.requires_grad) for p in _made(model)]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, wanted in grads:
            parameter.requires_grad_(wanted)


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Inside, the model is in evaluation mode and its parameters take no gradients.

    On the way out every mode and ``requires_grad`` is put back.
    """
    check_model(model)
    with kept(model):
        model.eval()
        for parameter in _made(model):
            parameter.requires_grad_(False)
        yield model


def _made(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that exist: a lazy layer makes its own at the first call."""
    lazy = nn.parameter.UninitializedParameter
    return [p for p in model.parameters() if not isinstance(p, lazy)]


def forward_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The model as a function of images, which it is given in the order that its device likes.

    On a CPU, images stored channels last take a tenth to a third less time, and all the layers
    follow the layout of their input. The values are the same, but for rounding. A model that asks
    for contiguous memory (``x.view(...)`` after a convolution) gets the images as they are.
    It is always given a copy: a model that works in place does not touch the caller's images.
    """
    channels_last = True

    def forward(x: Tensor) -> Tensor:
        nonlocal channels_last
        if channels_last and x.device.type == "cpu":
            try:
                return model(channels_last_copy(x))
            except RuntimeError as error:
                if "view" not in str(error):
                    raise
                channels_last = False
        return model(x.clone(memory_format=torch.contiguous_format))

    return forward


def channels_last_copy(x: Tensor) -> Tensor:
    """A copy of images with their channels side by side in memory."""
    if x.shape[1] == 1:  # the same memory, but torch needs to be told by the strides
        return x.clone().squeeze(1).unsqueeze(3).movedim(3, 1)
    return x.clone(memory_format=torch.channels_last)


def check_model(model: nn.Module) -> None:
    """:raises TypeError: not a torch.nn.Module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, found {type(model).__name__}")


def check_labels(y: Tensor, x: Tensor, name: str = "y") -> None:
    """:raises ValueError: not an integer (N,) tensor of class numbers, on the device of x."""
    if not isinstance(y, Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, found {type(y).__name__}")
    if y.shape != x.shape[:1]:
        raise ValueError(f"{name}: expected shape ({len(x)},), found {tuple(y.shape)}")
    if y.dtype != torch.int64:
        raise ValueError(f"{name}: expected class numbers as torch.int64, found {y.dtype}")
    if y.device != x.device:
        raise ValueError(f"{name}: expected on {x.device} as the images, found on {y.device}")
    if y.numel() and y.min() < 0:
        raise ValueError(f"{name}: expected class numbers from 0, found {y.min().item()}")


def check_logits(
    logits: Tensor, x: Tensor, y: Tensor | None = None, *, probabilities: bool = True
) -> None:
    """What a model answered: (N, K) floating point, finite, and not probabilities.

    :param probabilities: look for them. An attack that asks thousands of times looks once: among so
        many answers to one image, two logits come to a sum of 1 by chance.
    :raises ValueError: a broken contract, or a label y that is not below K.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"model: expected logits of shape ({len(x)}, K), found {found}")
    check_answers(logits)
    if probabilities and are_probabilities(logits):
        raise ValueError(
            "model: expected logits, found probabilities (rows that sum to 1); "
            "drop the last softmax: gradients vanish through it, and attacks look weak"
        )
    check_classes(logits, y)


def check_answers(logits: Tensor) -> None:
    """:raises ValueError: not at least 2 classes of finite floating-point numbers, (N, K, ...)."""
    if logits.shape[1] < 2:
        raise ValueError(f"model: expected at least 2 classes, found logits of {logits.shape[1]}")
    if not logits.is_floating_point():
        raise ValueError(f"model: expected floating-point logits, found {logits.dtype}")
    if not logits.detach().isfinite().all():
        raise ValueError("model: expected finite logits, found NaN or infinity")


def are_probabilities(logits: Tensor) -> bool:
    """Whether all are at least 0 and sum to 1, but for rounding, over the classes, (N, K, ...).

    No numbers at all are no probabilities.
    """
    answer = logits.detach()
    if not answer.numel():
        return False
    rounding = max(1e-5, 10 * torch.finfo(answer.dtype).eps)
    return bool(answer.min() >= 0 and (answer.sum(1) - 1).abs().max() < rounding)


def check_classes(logits: Tensor, y: Tensor | None) -> None:
    """:raises ValueError: a class in y, if there are any, that is not below K."""
    if y is not None and y.numel() and y.max() >= logits.shape[1]:
        raise ValueError(
            f"y: expected class numbers below {logits.shape[1]}, the model's number of classes, "
            f"found {y.max().item()}"
        )


def device_of(model: nn.Module) -> torch.device | None:
    """The device of the model's first parameter or buffer; None when it has none."""
    for tensor in [*model.parameters(), *model.buffers()]:
        return tensor.device
    return None


def check_device(model: nn.Module, x: Tensor) -> None:
    """:raises ValueError: the model is on another device than the images."""
    check_model(model)
    where = device_of(model)
    if where is not None and where != x.device:
        raise ValueError(f"model is on {where} and x on {x.device}; move one with .to()")


def predict_logits(model: nn.Module, x: Tensor, *, batch_size: int | None = None) -> Tensor:
    """The model's logits for any number of images, in evaluation mode, without gradients.

    :param x: (N, C, H, W) in [0, 1].
    :returns: (N, K), on the device of x.
    :raises ValueError: images or answers that break the contract.
    """
    check_images(x)
    return predict_anywhere(model, x, batch_size=batch_size)


def predict_anywhere(model: nn.Module, x: Tensor, *, batch_size: int | None = None) -> Tensor:
    """As :func:`predict_logits`, for inputs that need not be images: a map may leave the box."""
    check_device(model, x)
    forward = forward_of(model)

    def answer(x: Tensor) -> Tensor:
        logits = forward(x)
        check_logits(logits, x)
        return logits

    with frozen(model), torch.no_grad():
        return in_batches(answer, x, batch_size=batch_size)


def predict(model: nn.Module, x: Tensor, *, batch_size: int | None = None) -> Tensor:
    """The class that the model names for each image, (N,) int64. See :func:`predict_logits`."""
    return predict_logits(model, x, batch_size=batch_size).argmax(1)


def accuracy(model: nn.Module, x: Tensor, y: Tensor, *, batch_size: int | None = None) -> float:
    """The fraction of images whose predicted class is y, between 0 and 1."""
    check_images(x)
    check_labels(y, x)
    if not len(x):
        raise ValueError("accuracy: expected at least one image, found none")
    logits = predict_logits(model, x, batch_size=batch_size)
    check_logits(logits, x, y)
    return (logits.argmax(1) == y).double().mean().item()
