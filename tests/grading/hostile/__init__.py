"""Submissions that try to get past the grader, or that are broken: what must come of each.

``python benchmarks/hostile.py`` grades them all and prints the table of verdicts.
"""

from __future__ import annotations

from . import (
    answers,
    files,
    forging,
    injections,
    killing,
    limits,
    notebooks,
    reaching,
    replacing,
    waiting,
)
from .case import Case

FAMILIES = {
    "forging": forging.CASES,
    "replacing": replacing.CASES,
    "killing": killing.CASES,
    "waiting": waiting.CASES,
    "limits": limits.CASES,
    "reaching": reaching.CASES,
    "notebooks": notebooks.CASES,
    "answers": answers.CASES,
    "files": files.CASES,
    "injections": injections.CASES,
}
CASES: list[Case] = [case for cases in FAMILIES.values() for case in cases]
