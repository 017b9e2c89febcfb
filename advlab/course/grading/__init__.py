"""Grading a class: see :mod:`advlab.course.grading.cli` for the command."""

__all__ = ["Hidden", "grade_class"]


def __getattr__(name: str):
    # Both import torch, which the command's help and its arguments have no need of.
    if name == "Hidden":
        from .hidden import Hidden

        return Hidden
    if name == "grade_class":
        from .classes import grade_class

        return grade_class
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
