"""Where on a sign stickers are: layouts by name, and the place that an attack itself chose."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Rectangles (top, left, bottom, right) as parts of the sign's bounding box.
LAYOUTS = {
    "bars": ((0.12, 0.22, 0.29, 0.78), (0.71, 0.22, 0.88, 0.78)),
    "blocks": (
        (0.10, 0.28, 0.30, 0.46), (0.14, 0.58, 0.32, 0.76),
        (0.69, 0.20, 0.86, 0.38), (0.71, 0.52, 0.91, 0.70),
    ),
}  # fmt: skip
# Two words in the style of the paper's graffiti, as (word, top, left, bottom, right).
WORDS = (("LOVE", 0.08, 0.22, 0.30, 0.78), ("HATE", 0.71, 0.22, 0.93, 0.78))
LETTERS = {
    "L": "#.../#.../#.../#.../####",
    "O": ".##./#..#/#..#/#..#/.##.",
    "V": "#..#/#..#/#..#/.##./.##.",
    "E": "####/#.../###./#.../####",
    "H": "#..#/#..#/####/#..#/#..#",
    "A": ".##./#..#/####/#..#/#..#",
    "T": "####/.##./.##./.##./.##.",
}


def sticker_mask(sign: Tensor, kind: str = "bars") -> Tensor:
    """A layout of stickers on a sign, in the manner of Eykholt et al. (2018).

    :param sign: (1, 1, S, S), 1 on the sign, such as ``advlab.data.sign_mask("stop")``; pixels
        below 1, at its edge, get no sticker.
    :param kind: ``"bars"``: a long one above the middle and one below; ``"blocks"``: four short
        ones; ``"graffiti"``: two words; ``"poster"``: the whole sign.
    :returns: (1, 1, S, S) of 0 and 1, of the dtype of ``sign`` and nowhere outside of it.
    :raises ValueError: another kind, or a sign without a pixel.
    """
    if kind not in (*LAYOUTS, "graffiti", "poster"):
        names = ", ".join(map(repr, (*LAYOUTS, "graffiti", "poster")))
        raise ValueError(f"kind: found {kind!r}, expected one of {names}")
    sign = _whole(sign)
    if kind == "poster":
        return sign
    rows, columns = sign[0, 0].any(1).nonzero(), sign[0, 0].any(0).nonzero()
    top, left = int(rows.min()), int(columns.min())
    high, wide = int(rows.max()) + 1 - top, int(columns.max()) + 1 - left
    out = torch.zeros_like(sign)

    def window(t, l, b, r):  # noqa: E741
        """The part of ``out`` that a rectangle of the bounding box is."""
        down = slice(top + round(t * high), top + round(b * high))
        return out[:, :, down, left + round(l * wide) : left + round(r * wide)]

    if kind == "graffiti":
        for word, *where in WORDS:
            place = window(*where)
            place[:] = F.interpolate(_written(word).to(sign), place.shape[2:], mode="nearest")
    for where in LAYOUTS.get(kind, ()):
        window(*where)[:] = 1
    return out * sign


def _whole(sign: Tensor) -> Tensor:
    """1 where a pixel is wholly on the sign, else 0."""
    if sign.ndim != 4 or sign.shape[:2] != (1, 1):
        raise ValueError(f"sign: expected (1, 1, S, S), found {tuple(sign.shape)}")
    whole = (sign >= 1).to(sign)
    if not whole.any():
        raise ValueError("sign: expected some pixels that are 1, found none")
    return whole


def _written(word: str) -> Tensor:
    """The word in letters of 4 × 5 cells, one apart, (1, 1, 5, 5 n − 1)."""
    lines = zip(*(LETTERS[letter].split("/") for letter in word), strict=True)
    cells = [[float(c == "#") for c in ".".join(line)] for line in lines]
    return torch.tensor(cells)[None, None]


def vulnerable_mask(
    delta: Tensor, sign: Tensor, *, stickers: int = 4, size: tuple[int, int] = (16, 24)
) -> Tensor:
    """Stickers where a perturbation of the whole sign is largest.

    Eykholt et al. (2018), section 3: a first run over the whole sign with the L1 norm, which
    leaves most pixels as they are, shows where the model is vulnerable; the stickers are put there.
    The paper does it by eye. Here each sticker in turn takes the rectangle with the largest
    ``Σ |δ|`` that lies on the sign and overlaps no other.

    :param delta: (1, C, S, S), what ``RP2(mask=sign, norm="L1", ...)`` added to the face.
    :param sign: (1, 1, S, S), 1 on the sign; pixels below 1, at its edge, get no sticker.
    :param stickers: how many, at least 1; fewer if there is no room.
    :param size: height and width of a sticker in pixels.
    :returns: (1, 1, S, S) of 0 and 1.
    :raises ValueError: no sticker, none that fits on the sign, or a δ of another size.
    """
    if stickers < 1 or min(size) < 1:
        raise ValueError(
            f"stickers, size: expected numbers from 1, found {stickers} stickers of {size}"
        )
    free = _whole(sign)
    if delta.ndim != 4 or len(delta) != 1 or delta.shape[2:] != sign.shape[2:]:
        raise ValueError(
            f"delta: expected (1, C, {sign.shape[2]}, {sign.shape[3]}) as the sign, found "
            f"{tuple(delta.shape)}"
        )
    if not delta.isfinite().all():
        raise ValueError("delta: expected finite numbers, found NaN or infinity")
    high, wide = size
    if high > sign.shape[2] or wide > sign.shape[3]:
        raise ValueError(f"size: expected a rectangle that fits on the sign, found {size}")
    weight = delta.abs().sum(1, keepdim=True)
    out = torch.zeros_like(sign)
    for _ in range(stickers):
        # The mean over every rectangle, and whether all of it is free.
        fits = F.avg_pool2d(free.float(), size, stride=1) > 1 - 0.5 / (high * wide)
        if not fits.any():
            break
        total = F.avg_pool2d(weight.float(), size, stride=1).masked_fill(~fits, -1)
        row, column = divmod(int(total.argmax()), total.shape[3])
        place = (..., slice(row, row + high), slice(column, column + wide))
        out[place], free[place] = 1, 0
    if not out.any():
        raise ValueError(f"size: expected a rectangle that fits on the sign, found {size}")
    return out
