"""What a photograph of a sheet says: to print, to keep, to look at."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..data.files import write_atomically
from ..evaluation.metrics import success_rate
from .sheet import Sheet

FORMAT = "advlab-photo-1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What a photograph says of a sheet of N pairs, with C(x) the class that the model finds.

    :param sheet: what was printed, and what the model finds in the files.
    :param names: of the classes.
    :param x: (N, C, H, W) in [0, 1], the clean images as photographed.
    :param x_adv: (N, C, H, W) in [0, 1], the adversarial images as photographed.
    :param clean: (N,) int64, the classes that the model finds in ``x``.
    :param adversarial: (N,) int64, the classes that it finds in ``x_adv``.
    :param confidence: (N, 2), the probabilities of these classes, clean and adversarial.
    :param notes: what to know about this photograph.
    """

    sheet: Sheet
    names: tuple[str, ...]
    x: Tensor = field(repr=False)
    x_adv: Tensor = field(repr=False)
    clean: Tensor
    adversarial: Tensor
    confidence: Tensor = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """The fraction of the clean images that are read right in the photograph."""
        return (self.clean == self._truth).float().mean().item()

    @property
    def success(self) -> float:
        """Of the images whose clean file is read right, the fraction whose adversarial version is
        read wrong in the photograph; NaN if there is none."""
        return success_rate(self.adversarial != self._truth, self._attacked)

    @property
    def destruction_rate(self) -> float:
        """Of the adversarial files that work, the fraction that the photograph destroys.

        Kurakin et al. (2017), section 3.1, equation 1, with the photograph as transformation: of
        the images whose clean file is read right and whose adversarial file is read wrong, the
        fraction whose adversarial version is read right in the photograph. NaN if there is none.
        :func:`advlab.evaluation.destruction_rate` is the same of a transformation in code.
        """
        return success_rate(self.adversarial == self._truth, self._working)

    @property
    def _truth(self) -> Tensor:
        return torch.tensor(self.sheet.truth)

    @property
    def _attacked(self) -> Tensor:
        return torch.tensor(self.sheet.clean) == self._truth

    @property
    def _working(self) -> Tensor:
        return self._attacked & (torch.tensor(self.sheet.adversarial) != self._truth)

    def table(self) -> str:
        """The reading as text: a line an image, then the rates."""
        head = ("", "true class", "clean file", "photograph", "adversarial file", "photograph")
        rows = [head]
        for i, truth in enumerate(self.sheet.truth):
            clean, adversarial = (f"{p:.0%}" for p in self.confidence[i].tolist())
            rows.append(
                (
                    str(i + 1),
                    self.names[truth],
                    self.names[self.sheet.clean[i]],
                    f"{self.names[self.clean[i]]} ({clean})",
                    self.names[self.sheet.adversarial[i]],
                    f"{self.names[self.adversarial[i]]} ({adversarial})",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        rows.insert(1, tuple("-" * width for width in widths))
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]
        return "\n".join(
            [f"the sheet: {self.sheet}", "", *lines, "", *self._rates(), *self._said()]
        )

    __str__ = table

    def _rates(self) -> list[str]:
        every = torch.ones_like(self._attacked)
        return [
            f"read right, clean:         files {_of(self._attacked, every)}, "
            f"photographs {_of(self.clean == self._truth, every)}",
            f"fooled, of these files:    files {_of(self._working, self._attacked)}, "
            f"photographs {_of(self.adversarial != self._truth, self._attacked)}",
            f"destruction rate:          {_of(self.adversarial == self._truth, self._working)} "
            "adversarial files that fool are read right as photographs",
        ]

    def _said(self) -> list[str]:
        return [f"note: {note}" for note in self.notes]

    def to_json(self) -> str:
        """Everything but the pixels; a rate of nothing is null."""
        document = {
            "format": FORMAT,
            "sheet": asdict(self.sheet),
            "code": self.sheet.code(),
            "classes": self.names,
            "photograph": {
                "clean": self.clean.tolist(),
                "adversarial": self.adversarial.tolist(),
                "confidence": [[round(p, 4) for p in row] for row in self.confidence.tolist()],
            },
            "accuracy": self.accuracy,
            "success": _number(self.success),
            "destruction_rate": _number(self.destruction_rate),
            "notes": self.notes,
        }
        return json.dumps(document, indent=1, allow_nan=False)

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Write each image as it was cut out, as PNG: ``01-clean.png``, ``01-adversarial.png``.

        :returns: the files, in the order of the sheet.
        :raises OSError: the folder cannot be written.
        """
        paths = []
        for i, pair in enumerate(zip(self.x, self.x_adv)):
            for image, what in zip(pair, ("clean", "adversarial")):
                path = Path(folder) / f"{i + 1:02d}-{what}.png"
                write_atomically(path, _png(image))
                paths.append(path)
        return paths


def _of(those: Tensor, among: Tensor) -> str:
    n = int(among.sum())
    share = f" ({success_rate(those, among):.0%})" if n else ""
    return f"{int((those & among).sum())} of {n}{share}"


def _number(value: float) -> float | None:
    return None if value != value else value


def _png(image: Tensor) -> bytes:
    channels = (image * 255).round().byte().movedim(0, -1).numpy()
    file = BytesIO()
    Image.fromarray(channels[..., 0] if channels.shape[-1] == 1 else channels).save(file, "PNG")
    return file.getvalue()
