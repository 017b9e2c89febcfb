"""What a patch does, by how much of the image it covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attacks import Patch
from ..backend import generator
from ..models.contract import check_images, check_labels, check_logits, predict_logits
from ..transforms import Transformation
from .physical import check_draws


@dataclass(frozen=True)
class PatchScore:
    """How a patch of one area did.

    :param area: the patch's area as a fraction of the image's.
    :param success: the fraction of the placed patches that brought about the target class, or,
        without a target, any class but the true one.
    :param confidence: the model's mean probability of the true class.
    :param images: how many images were judged.
    :param draws: how many places each image's patch was put at.
    """

    area: float
    success: float
    confidence: float
    images: int
    draws: int


def patch_success(
    model: nn.Module,
    patch: Patch,
    x: Tensor,
    y: Tensor,
    *,
    area: float,
    rotation: float = 20.0,
    where: Tensor | None = None,
    camera: Transformation | None = None,
    draws: int = 1,
    seed: int = 0,
) -> PatchScore:
    """How often a patch has its way, at random places. Brown et al. (2017), figure 3.

    Judged on the images that the model has right without the patch, and that are not of the
    patch's target class. Judge on images that the patch was not learned from, and compare with
    :func:`advlab.evaluation.noise_patch` and :func:`advlab.evaluation.picture_patch`: anything
    that covers the object changes answers.

    :param model: maps (N, C, H, W) in [0, 1] to logits (N, K).
    :param x: (N, C, H, W), in [0, 1].
    :param y: (N,) int64, the true classes.
    :param area: the patch's area as a fraction of the image's; at 0 the images are as they were.
    :param rotation: the most degrees by which it is turned, either way.
    :param where: (1 or N, 1, H, W), 1 where the patch may lie; by default anywhere.
    :param camera: what lies between the patched image and the model; by default nothing.
    :param draws: places an image, at least 1.
    :param seed: of the places and of the camera; draw i takes ``seed + i``.
    :raises ValueError: no image to judge on, a patch that does not fit, or a target or labels that
        are no classes of the model.
    """
    check_images(x)
    check_labels(y, x)
    check_draws(draws)
    rows = torch.zeros(0, dtype=torch.bool, device=x.device)
    if len(x):
        logits = predict_logits(model, x)
        check_logits(logits, x, y)
        rows = logits.argmax(1) == y
        if patch.target is not None:
            if patch.target >= logits.shape[1]:
                raise ValueError(
                    f"patch: expected a target below {logits.shape[1]}, the model's number of "
                    f"classes, found {patch.target}"
                )
            rows &= y != patch.target
    if not rows.any():
        raise ValueError(
            f"x: none of the {len(x)} images can be judged on: the model has each wrong, or it is "
            "of the target class"
        )
    if where is not None and len(where) > 1:
        where = where[rows]
    x, y = x[rows], y[rows]
    success = confidence = 0.0
    for i in range(seed, seed + draws):
        seen = patch.apply(x, area=area, rotation=rotation, where=where, seed=i)
        if camera is not None:
            seen = camera.sample(seen, seed=i)
        logits = predict_logits(model, seen)
        answer = logits.argmax(1)
        reached = answer != y if patch.target is None else answer == patch.target
        success += reached.double().mean().item() / draws
        true = logits.double().softmax(1).gather(1, y[:, None])
        confidence += true.mean().item() / draws
    return PatchScore(float(area), success, confidence, len(x), draws)


def patch_curve(
    model: nn.Module, patch: Patch, x: Tensor, y: Tensor, areas: Sequence[float], **settings
) -> list[PatchScore]:
    """:func:`advlab.evaluation.patch_success` for each area.

    :param areas: fractions of the image's area; 0 is the image without the patch.
    :param settings: the other arguments of ``patch_success``: rotation, camera, draws, ...
    :raises ValueError: as there.
    """
    return [patch_success(model, patch, x, y, area=area, **settings) for area in areas]


def noise_patch(like: Patch, *, seed: int = 0) -> Patch:
    """A control: the same patch, but each pixel drawn uniformly from [0, 1]."""
    pixels = torch.rand(like.pixels.shape, generator=generator(seed)).to(like.pixels)
    return replace(like, pixels=pixels)


def picture_patch(like: Patch, picture: Tensor) -> Patch:
    """A control: the same patch, but showing a picture, such as a photograph of the target class.

    :param picture: (C, H, W) or (1, C, H, W), in [0, 1]; it is scaled to the patch.
    :raises ValueError: no single picture, or of other channels than the patch.
    """
    picture = picture[None] if picture.ndim == 3 else picture
    check_images(picture, "picture")
    if len(picture) != 1 or picture.shape[1] != len(like.pixels):
        raise ValueError(
            f"picture: expected ({len(like.pixels)}, H, W), found {tuple(picture.shape)}"
        )
    size = like.pixels.shape[1:]
    scaled = F.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)
    return replace(like, pixels=scaled[0].clamp(0, 1).to(like.pixels))
