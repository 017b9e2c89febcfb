"""Checks of the numbers that attacks and transformations are made of."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any


def check_number(owner: Any, name: str, low: float = 0.0, high: float = 1e30) -> None:
    """Check the field of that name of a frozen dataclass, and make a plain number of it.

    :raises ValueError: not a number from ``low`` to ``high`` (beyond 1e30, float32 overflows).
    """
    value = getattr(owner, name)
    if not (isinstance(value, Real) and low <= value <= high):
        upto = "" if high == 1e30 else f", at most {high:g}"
        raise ValueError(
            f"{name}: expected a finite number, at least {low:g}{upto}, found {value!r}"
        )
    if not isinstance(value, (int, float)):  # NumPy's, or a Fraction
        object.__setattr__(owner, name, float(value))


def check_whole(owner: Any, name: str, least: int = 1) -> None:
    """:raises ValueError: the field of that name is not a whole number from ``least``."""
    value = getattr(owner, name)
    if not (isinstance(value, Integral) and value >= least):
        raise ValueError(f"{name}: expected a whole number from {least}, found {value!r}")


def check_range(owner: Any, name: str, low: float = 0.0, high: float = 1e30) -> None:
    """Check that a field is a pair, low end first, or one number for both; make a pair of it.

    :raises ValueError: not numbers from ``low`` to ``high``, the smaller first.
    """
    value = getattr(owner, name)
    try:
        first, last = (value, value) if isinstance(value, Real) else value
        good = isinstance(first, Real) and isinstance(last, Real) and low <= first <= last <= high
    except (TypeError, ValueError):
        good = False
    if not good:
        upto = "" if high == 1e30 else f", at most {high:g}"
        raise ValueError(
            f"{name}: expected a number or a pair (low, high), low first, at least {low:g}{upto}, "
            f"found {value!r}"
        )
    object.__setattr__(owner, name, (float(first), float(last)))


def check_rate(name: str, value: float, *, below: bool = False) -> None:
    """:raises ValueError: an argument that is not a number from 0 to 1, or ``below`` 1."""
    if not (isinstance(value, Real) and 0 <= value <= 1) or (below and value == 1):
        upto = "below 1" if below else "1"
        raise ValueError(f"{name}: expected a number from 0 to {upto}, found {value!r}")


def check_count(name: str, value: int, least: int = 0) -> None:
    """:raises ValueError: an argument that is not a whole number from ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: expected a whole number, at least {least}, found {value!r}")
