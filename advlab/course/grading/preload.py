"""What grading one notebook needs, imported: once, in the process from which the others fork."""

from __future__ import annotations

import gc
import sys

sys.modules.setdefault("rfc3987_syntax", None)  # as in advlab.cli

from ..exercise import all_exercises  # noqa: E402
from ..guarding import locate  # noqa: E402
from . import runner  # noqa: E402

__all__ = ["runner"]

# What may not be called is looked up by name, in the packages that hold it.
for _exercise in all_exercises():
    for _name in _exercise.forbids:
        locate(_name)

# A fork that looks through all of this for garbage would copy it.
gc.collect()
gc.freeze()
