"""From paper back into the computer: print images on a sheet, photograph it, read the photograph.

Kurakin et al. (2017), "Adversarial examples in the physical world", section 3: they printed clean
and adversarial images, photographed the print with a phone held by hand, cut the images out by
markers printed beside them, and asked the classifier again.

``advlab photo SHEET.pdf`` writes a sheet, ``advlab photo --read PHOTO.jpg`` reads a photograph.
"""

from __future__ import annotations

import importlib

_WHERE = {
    "MissingOpenCV": "opencv",
    "Reading": "reading",
    "Sheet": "sheet",
    "Printout": "sheet",
    "make_sheet": "sheet",
    "read_photo": "reader",
}
__all__ = list(_WHERE)


def __getattr__(name: str):
    # The command's options are read without these, which take long to import.
    if name in _WHERE:
        return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
