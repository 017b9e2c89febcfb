"""A patch on paper and on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..data.files import write_atomically

FORMAT = "advlab patch 1"
PAGE = (210.0, 297.0)  # A4, in mm
MARGIN = 15.0  # mm that printers may leave white, and the scale bar's place
INCH = 25.4  # mm


def save(path: str | Path, pixels: Tensor, mask: Tensor, target: int | None) -> Path:
    tensors = {"pixels": pixels.detach().cpu().contiguous(), "mask": mask.cpu().contiguous()}
    about = {"advlab": json.dumps({"format": FORMAT, "target": target})}
    write_atomically(path, safetensors.torch.save(tensors, about))
    return Path(path)


def load(path: str | Path) -> tuple[Tensor, Tensor, int | None]:
    """Pixels, mask and target.

    :raises ValueError: the file is damaged, or holds something else.
    :raises OSError: there is no such file.
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"no patch at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("advlab", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); save the patch again") from error
    if about.get("format") != FORMAT or set(tensors) != {"pixels", "mask"}:
        raise ValueError(f"{path} is not a patch that Patch.save wrote")
    return tensors["pixels"], tensors["mask"], about["target"]


def to_png(path: str | Path, pixels: Tensor, mask: Tensor, size: int) -> Path:
    layers = torch.cat((_color(pixels), mask.cpu()))
    small = Image.fromarray(_bytes(layers), "RGBA")
    height = max(1, round(size * mask.shape[1] / mask.shape[2]))
    buffer = io.BytesIO()
    small.resize((size, height), Image.Resampling.NEAREST).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
    return Path(path)


def to_pdf(path: str | Path, pixels: Tensor, mask: Tensor, width_mm: float) -> Path:
    """See :meth:`advlab.attacks.Patch.to_pdf`."""
    import matplotlib as mpl  # here: it takes longer to import than all else
    from matplotlib.figure import Figure

    h, w = mask.shape[1:]
    height_mm = width_mm * h / w
    room = (PAGE[0] - 2 * MARGIN, PAGE[1] - 4 * MARGIN)
    if not (0 < width_mm <= room[0] and height_mm <= room[1]):
        raise ValueError(
            f"width_mm: expected a patch within {room[0]:g} × {room[1]:g} mm, as A4 has room for, "
            f"found {width_mm:g} × {height_mm:g}"
        )
    # Type 42 keeps text as text; without a date the same patch gives the same file.
    with mpl.rc_context({"pdf.fonttype": 42, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=[side / INCH for side in PAGE])
        page = figure.add_axes((0, 0, 1, 1), xlim=(0, PAGE[0]), ylim=(0, PAGE[1]))
        page.axis("off")
        left, top = (PAGE[0] - width_mm) / 2, (PAGE[1] + height_mm) / 2
        box = (left, left + width_mm, top - height_mm, top)
        picture = page.imshow(
            _bytes(_color(pixels)), extent=box, interpolation="none", aspect="auto"
        )
        across = left + (np.arange(-1, w + 1) + 0.5) * width_mm / w
        down = top - (np.arange(-1, h + 1) + 0.5) * height_mm / h
        edge = torch.nn.functional.pad(mask[0].cpu().double(), (1, 1, 1, 1)).numpy()
        # Where the mask is half as dense as at its densest: of a faint one too there is a line.
        half = [edge.max() / 2]
        line = page.contour(across, down, edge, half, colors="black", linewidths=0.25)
        picture.set_clip_path(line.get_paths()[0], page.transData)
        y = 1.5 * MARGIN
        page.plot([MARGIN, MARGIN + 10], [y, y], "|-", color="black", lw=0.5, ms=6)
        page.text(
            MARGIN, y + 3, f"10 mm. Print at 100%; the patch is {width_mm:g} mm wide.", size=9
        )
        page.set(xlim=(0, PAGE[0]), ylim=(0, PAGE[1]))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    write_atomically(path, buffer.getvalue())
    return Path(path)


def _color(pixels: Tensor) -> Tensor:
    """(3, h, w) on the CPU, gray as three equal channels.

    :raises ValueError: neither 1 nor 3 channels.
    """
    if len(pixels) not in (1, 3):
        raise ValueError(f"patch: expected 1 or 3 channels to print, found {len(pixels)}")
    return pixels.detach().cpu().expand(3, -1, -1)


def _bytes(layers: Tensor) -> np.ndarray:
    """(channels, h, w) in [0, 1] to (h, w, channels) bytes."""
    return (layers * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
