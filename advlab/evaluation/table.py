"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under their head and a line: the first column at the left, numbers at the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    line = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in (head, line, *rows)
    )
