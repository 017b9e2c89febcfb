"""One hostile or broken submission: what it tries, how it is made, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

from advlab.course.grading import results as r

PASSED = frozenset({r.PASSED})
JUDGED = frozenset({r.NOT_YET})
STOPPED = frozenset({r.NOT_RUN})
HALTED = frozenset({r.NOT_RUN, *r.LIMITS})  # by a limit, here or before
CRASHED = frozenset({r.CRASHED})
REFUSED = frozenset({r.REFUSED})
NO_ANSWER = frozenset({r.NO_ANSWER})
# Where more than one word is right: whatever it is called, it earns nothing.
NOTHING = JUDGED | HALTED | CRASHED | REFUSED | NO_ANSWER
# What a student's code does to the student's own later answers is the student's affair.
ANY = NOTHING | PASSED

GRADED, BROKEN = frozenset({r.GRADED}), frozenset({r.BROKEN})
TIMED_OUT, MEMORY = frozenset({r.TIMED_OUT}), frozenset({r.OUT_OF_MEMORY})
CPU, PROCESSES = frozenset({r.TOO_MUCH_CPU}), frozenset({r.TOO_MANY_PROCESSES})
OUTPUT, DISK = frozenset({r.TOO_MUCH_OUTPUT}), frozenset({r.TOO_MUCH_DISK})
FILE = frozenset({r.TOO_LARGE_A_FILE})

Marks = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Case:
    """A submission, and what must come of it.

    It starts as the released chapter with all exercises solved. In ``answers``, ``@outside@`` and
    the other names of :class:`~hostile.world.World` become Python literals.

    :param name: of the case; of the student's folder too, where ``folder`` names no other.
    :param tries: in a sentence.
    :param answers: exercise → the answer's cell, in place of the solution.
    :param change: of the whole notebook, after that.
    :param files: writes more files into the student's folder, or other ones.
    :param handed_in: whether the notebook itself is written.
    :param marks: exercise → the words that its status may be; passed where it is not named.
    :param status: the words that the result's status may be.
    :param says: must stand in the result's reason, its notes, or a message of its marks.
    :param limits: other limits than the class has; it is graded in a class of its own then.
    :param folder: the student's folder.
    """

    name: str
    tries: str
    answers: Mapping[str, str] = field(default_factory=dict)
    change: Callable[[NotebookNode], None] | None = None
    files: Callable[[Path, object], None] | None = None
    handed_in: bool = True
    marks: Marks = field(default_factory=dict)
    status: frozenset[str] = GRADED
    says: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    folder: str = ""

    @property
    def student(self) -> str:
        return self.folder or self.name


def attack(name: str, tries: str, code: str, **more) -> Case:
    """The code is the answer to 4.1, the second of four. The first keeps its points in any case;
    unless told otherwise, 4.1 earns nothing and the others are not touched."""
    marks = {"4.1": NOTHING} | dict(more.pop("marks", {}))
    return Case(name, tries, answers={"4.1": code}, marks=marks, **more)


def stopped(name: str, tries: str, code: str, status: frozenset[str], **more) -> Case:
    """As :func:`attack`, stopped by a limit: what comes after is not run."""
    marks = dict.fromkeys(("4.1", "4.2", "1.4"), HALTED) | dict(more.pop("marks", {}))
    return attack(name, tries, code, status=status, marks=marks, **more)


def right(name: str, tries: str, before: str = "", inside: str = "pass", **more) -> Case:
    """A right answer to 4.1 that does something else besides: it passes."""
    marks = {"4.1": PASSED} | dict(more.pop("marks", {}))
    return attack(name, tries, before + "\n" + solved(inside), marks=marks, **more)


def solved(inside: str = "pass") -> str:
    """The right answer to 4.1, with lines of one's own at the start of the function."""
    lines = "".join(f"    {line}\n" for line in inside.splitlines())
    return (
        f"def input_gradient(model, x, y):\n{lines}"
        "    x = x.detach().clone().requires_grad_()\n"
        '    loss = F.cross_entropy(model(x), y, reduction="sum")\n'
        "    return torch.autograd.grad(loss, x)[0]\n"
    )


def called(inside: str) -> str:
    """A wrong answer to 4.1 that runs the lines when the check calls it."""
    lines = "".join(f"    {line}\n" for line in inside.splitlines())
    return f"def input_gradient(model, x, y):\n{lines}    return torch.zeros_like(x)\n"
