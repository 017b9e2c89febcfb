"""Checks of the teacher's own, which students never get: read from a Python file.

.. code-block:: python

    import torch
    from advlab.course import fail, tensor, watch
    from advlab.course.grading import Hidden

    def probe(fgsm, seed): ...                 # runs beside the student's code: results only
    def verdict(results, seed): ...            # runs in the grader: the judgment

    HIDDEN = (Hidden("4.2", "A batch of one image", probe, verdict, points=1),)
"""

from __future__ import annotations

import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..exercise import Exercise
from ..notebooks import NotebookError
from .probes import probe_source


@dataclass(frozen=True)
class Hidden(Exercise):
    """One more check of an exercise. Students see its title, and whether it passed.

    :param id: of the exercise in the chapter, ``"4.2"``. Several hidden checks may share one.
    :param title: what it is about, in a few words that students may read.
    :param points: that it is worth, beside those of the exercise.
    :raises ValueError: points that are not above 0, and whatever
        :class:`~advlab.course.Exercise` refuses.
    """

    points: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        points = self.points
        number = isinstance(points, int | float) and not isinstance(points, bool)
        if not number or not 0 < points < math.inf:
            raise ValueError(f"{self.id}: points: expected a number above 0, found {points!r}")


def load(source: bytes, name: str = "hidden checks") -> tuple[Hidden, ...]:
    """The hidden checks of a teacher's file.

    :param source: the text of the file, which is run: it is the teacher's own.
    :param name: of the file, for messages.
    :raises NotebookError: it does not run, or has no ``HIDDEN`` of :class:`Hidden`.
    """
    with tempfile.TemporaryDirectory(prefix="advlab-") as folder:
        path = Path(folder) / "hidden_checks.py"
        path.write_bytes(source)
        module = ModuleType(f"advlab_{path.stem}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # where a dataclass looks, in a verdict too
        try:
            exec(compile(source, str(path), "exec"), vars(module))
            found = _checks(getattr(module, "HIDDEN", None), name)
            for check in found:  # while its file is there to be read
                probe_source(check.probe)
        except NotebookError:
            raise
        except Exception as error:
            # A ValueError is a sentence of ours, or reads like one.
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            raise NotebookError(f"{name}: {kind}{error}") from error
    return found


def _checks(found: object, name: str) -> tuple[Hidden, ...]:
    if not isinstance(found, tuple | list) or not all(isinstance(h, Hidden) for h in found):
        raise NotebookError(
            f"{name}: expected HIDDEN = (Hidden(...), ...), found {type(found).__name__}"
        )
    return tuple(found)
