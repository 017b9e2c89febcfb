"""Python as cells have it: with lines that are IPython's own."""

from __future__ import annotations

import ast

# IPython reads the whole source again for each line of its own, at 10 microseconds a character.
MOST_READ = 200_000


class Entangled(Exception):
    """A source that cannot be read in a reasonable time."""


def parse(source: str) -> ast.Module:
    """A cell's source, with calls of ``get_ipython()`` in place of its magics.

    :raises SyntaxError: it is no Python.
    :raises ValueError: it holds characters that no source may.
    :raises RecursionError: it is nested too deeply, or MemoryError.
    :raises Entangled: long, no Python as it stands, and with many lines that may be IPython's.
    """
    try:
        return ast.parse(source)
    except SyntaxError as error:
        magic = source.lstrip().startswith("%%")  # of the whole cell: one line to IPython
        lines = 0 if magic else sum(bool(set("%!?") & set(s)) for s in source.splitlines())
        if len(source) * (1 + lines) > MOST_READ:
            raise Entangled from error
        from IPython.core.inputtransformer2 import TransformerManager

        try:
            return ast.parse(TransformerManager().transform_cell(source))
        except RecursionError:
            raise
        except RuntimeError:  # it gives up after 500 rounds
            raise Entangled from error
