"""Numbers in few characters, for the QR code of a sheet."""

from __future__ import annotations

from collections.abc import Sequence

_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def parse_eps(text: str) -> float:
    """A number, or a fraction as ``16/255``.

    :raises ValueError: anything else.
    """
    number, bar, levels = text.partition("/")
    try:
        return float(number) / float(levels if bar else 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"eps: found {text!r}, expected a number as 0.1 or 8/255") from None


def eps_text(eps: float) -> str:
    """As n/255 if it is that, else six digits."""
    levels = f"{eps * 255:.0f}"
    return f"{levels}/255" if eps and parse_eps(f"{levels}/255") == eps else f"{eps:.6g}"


def packed(numbers: Sequence[int]) -> str:
    """Numbers in base 36, each with as many digits as the largest has."""
    words = []
    for number in numbers:
        word = ""
        while number or not word:
            number, digit = divmod(number, 36)
            word = _BASE36[digit] + word
        words.append(word)
    return "".join(word.zfill(max(map(len, words))) for word in words)


def unpacked(word: str, n: int) -> tuple[int, ...]:
    """:raises ValueError: a word that has not n parts of one length."""
    if n < 1 or not word or len(word) % n:
        raise ValueError(f"{word!r} are not {n} numbers")
    digits = len(word) // n
    return tuple(int(word[i : i + digits], 36) for i in range(0, len(word), digits))
