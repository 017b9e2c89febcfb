"""What a teacher sets: limits of a submission, where it runs, and how it counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from . import results as words

MIB = 2**20
START = 60.0  # seconds that a kernel, and a cell of the teacher's, may take at least
MOST = 10**15  # of any limit: what is larger, no system takes


@dataclass(frozen=True)
class Limits:
    """What one submission may use. Whoever goes beyond one is stopped, with its name as verdict.

    :param cell: seconds of wall time for one cell: *timed out*.
    :param notebook: seconds of wall time for all cells together: *timed out*.
    :param cpu: seconds of processor time of all its processes together: *too much processor time*.
    :param memory: bytes of all its processes together: *out of memory*.
    :param processes: processes and threads at one time: *too many processes*.
    :param output: bytes of all messages from the kernel: *too much output*.
    :param file: bytes of one file: the write fails; where the code lets that end it, *too large a
        file*.
    :param disk: bytes of all files that it may write: *too much disk*.
    :raises ValueError: a limit that is not above 0, or above ``MOST``.
    """

    cell: float = 60.0
    notebook: float = 600.0
    cpu: float = 600.0
    memory: int = 4096 * MIB
    processes: int = 128
    output: int = 16 * MIB
    file: int = 64 * MIB
    disk: int = 256 * MIB

    def __post_init__(self):
        for one in fields(self):
            value = getattr(self, one.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 < value <= MOST:
                raise ValueError(
                    f"{one.name}: expected a number above 0 and at most {MOST:g}, found {value!r}"
                )

    def told(self, word: str) -> str:
        """How large the limit with this verdict is, in a few words."""
        return (
            "the limit is "
            + {
                words.TOO_MUCH_CPU: f"{self.cpu:g} seconds on the processor",
                words.OUT_OF_MEMORY: f"{_size(self.memory)} for all processes together",
                words.TOO_MANY_PROCESSES: f"{self.processes} processes and threads",
                words.TOO_MUCH_OUTPUT: f"{_size(self.output)} of output",
                words.TOO_MUCH_DISK: f"{_size(self.disk)} for all files together",
                words.TOO_LARGE_A_FILE: f"{_size(self.file)} for one file",
            }[word]
        )

    @property
    def deadline(self) -> float:
        """Seconds after which the process that grades a submission is ended: it keeps the limits
        itself, and is late only where it hangs."""
        return self.notebook + 3 * START


def _size(count: float) -> str:
    """As it is typed on the command line: ``4G``."""
    for unit, one in (("G", 2**30), ("M", 2**20), ("K", 2**10)):
        if count % one == 0:
            return f"{count / one:g}{unit}"
    return f"{count:,} bytes"


@dataclass(frozen=True)
class Rule:
    """Which of several submissions counts, and what a late one is worth.

    :param keep: ``"last"``, the one handed in last, or ``"best"``, the one with most points.
    :param due: after this time a submission is late; None: none is.
    :param late: what a late one earns, as a share of its points from 0 (refused) to 1.
    :raises ValueError: another word, or a share outside [0, 1].
    """

    keep: str = "last"
    due: datetime | None = None
    late: float = 1.0

    def __post_init__(self):
        if self.keep not in ("last", "best"):
            raise ValueError(f"keep: expected 'last' or 'best', found {self.keep!r}")
        if isinstance(self.late, bool) or not 0 <= self.late <= 1:
            raise ValueError(f"late: expected a share from 0 to 1, found {self.late!r}")

    def late_at(self, time: datetime | None) -> bool:
        """Whether a submission of this time is late; one whose time is not known is not."""
        return self.due is not None and time is not None and time > self.due

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"due": self.due.isoformat() if self.due else None}

    def __str__(self) -> str:
        late = f"what is late earns {self.late:.0%} of its points; " if self.due else ""
        return f"{late}of several notebooks for a chapter the {self.keep} counts"


@dataclass(frozen=True)
class Settings:
    """How a class is graded.

    :param limits: of one submission.
    :param sandbox: a level by name, or ``"auto"``: the strongest that works on this machine.
    :param image: of the container, where the sandbox is ``"docker"`` or ``"podman"``.
    :param whole: run every cell of the chapter, and not only those that the answers need.
    :param rule: of late and repeated submissions.
    """

    limits: Limits = field(default_factory=Limits)
    sandbox: str = "auto"
    image: str = ""
    whole: bool = False
    rule: Rule = field(default_factory=Rule)

    def without_rule(self) -> dict[str, Any]:
        """What a result depends on: the rule is applied afterwards."""
        found = asdict(self)
        del found["rule"]
        return found
