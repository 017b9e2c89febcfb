"""Python as cells have it: with lines that are IPython's own."""

from __future__ import annotations

import ast
import re

# IPython reads the whole source again for each line of its own, at 10 microseconds a character.
MOST_READ = 200_000
# Where it looks for the name before a "?", it starts anew at each character of a line.
LONGEST_LINE = 2_000
# A magic of the whole cell: one line to IPython. One that ends in "?" asks for help, and is none.
_WHOLE = re.compile(r"[ \t\r\n]*%%(?!\w+\?)")


class Entangled(Exception):
    """A source that cannot be read in a reasonable time."""


def parse(source: str) -> ast.Module:
    """A cell's source, with calls of ``get_ipython()`` in place of its magics.

    :raises SyntaxError: it is no Python.
    :raises ValueError: it holds characters that no source may.
    :raises RecursionError: it is nested too deeply, or MemoryError.
    :raises Entangled: long, no Python as it stands, and with many lines that may be IPython's, or
        long ones.
    """
    try:
        return ast.parse(source)
    except SyntaxError as error:
        lines = [] if _WHOLE.match(source) else source.splitlines()
        its_own = sum(bool(set("%!?") & set(line)) for line in lines)
        longest = max(map(len, lines), default=0) if "?" in source else 0
        if len(source) * (1 + its_own) > MOST_READ or longest > LONGEST_LINE:
            raise Entangled from error
        from IPython.core.inputtransformer2 import TransformerManager

        try:
            transformed = TransformerManager().transform_cell(source)
        except (RecursionError, MemoryError):
            raise
        except RuntimeError:  # it gives up after 500 rounds
            raise Entangled from error
        except Exception as odd:  # it has no errors of its own: an IndexError, an AssertionError, …
            raise SyntaxError(f"IPython cannot read it: {type(odd).__name__}: {odd}") from odd
        return ast.parse(transformed)
