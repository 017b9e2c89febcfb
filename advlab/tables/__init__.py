"""The sources' tables, made again: ``advlab reproduce`` lists them.

A file a table. It gives a :class:`~advlab.tables.base.Table`; add it to ``TABLES`` here.
"""

from .base import Table, reproduce

TABLES: dict[str, Table] = {table.name: table for table in ()}

__all__ = ["TABLES", "Table", "reproduce"]
