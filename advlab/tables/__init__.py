"""The sources' tables, made again: ``advlab reproduce`` lists them.

A file a table. It gives a :class:`~advlab.tables.base.Table`; add it to ``TABLES`` here.
"""

from .base import Table, reproduce
from .black_box import BLACK_BOX
from .compare import COMPARE
from .destruction import DESTRUCTION
from .ensemble_training import ENSEMBLE_TRAINING
from .fingerprint_adaptive import FINGERPRINT_ADAPTIVE
from .fingerprint_grey_box import FINGERPRINT_GREY_BOX
from .least_perturbation import LEAST_PERTURBATION
from .patch import PATCH
from .signs import SIGNS
from .stability import STABILITY
from .substitute import SUBSTITUTE
from .voice import VOICE
from .weak_ensembles import WEAK_ENSEMBLES

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        BLACK_BOX,
        COMPARE,
        DESTRUCTION,
        ENSEMBLE_TRAINING,
        FINGERPRINT_ADAPTIVE,
        FINGERPRINT_GREY_BOX,
        LEAST_PERTURBATION,
        PATCH,
        SIGNS,
        STABILITY,
        SUBSTITUTE,
        VOICE,
        WEAK_ENSEMBLES,
    )
}

__all__ = ["TABLES", "Table", "reproduce"]
