"""The sources' tables, made again: ``advlab reproduce`` lists them.

A file a table. It gives a :class:`~advlab.tables.base.Table`; add it to ``TABLES`` here.
"""

from .base import Table, reproduce
from .destruction import DESTRUCTION
from .patch import PATCH
from .signs import SIGNS
from .substitute import SUBSTITUTE
from .voice import VOICE

TABLES: dict[str, Table] = {
    table.name: table for table in (DESTRUCTION, PATCH, SIGNS, SUBSTITUTE, VOICE)
}

__all__ = ["TABLES", "Table", "reproduce"]
