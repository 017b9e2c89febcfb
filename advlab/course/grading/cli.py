"""``advlab grade``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import fields
from datetime import datetime
from pathlib import Path

from .sandbox import ENGINES, LEVELS
from .settings import MIB, Limits, Rule, Settings

_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_HELP = {
    "cell": ("seconds", float, "wall time of one cell"),
    "notebook": ("seconds", float, "wall time of a notebook"),
    "cpu": ("seconds", float, "processor time of a notebook"),
    "memory": ("size", None, "memory of all its processes together"),
    "processes": ("number", int, "processes and threads at one time"),
    "output": ("size", None, "all that it prints and shows"),
    "file": ("size", None, "one file that it writes"),
    "disk": ("size", None, "all files that it writes"),
}


def add_grade(subparsers) -> None:
    """Register ``advlab grade``."""
    text = "grade what a class handed in: gradebook, feedback pages, summary"
    parser = subparsers.add_parser(
        "grade",
        help=text,
        description=f"{text[0].upper()}{text[1:]}. What was graded before and has not changed is "
        "not graded again: a run that was stopped goes on where it was. The exit status is 1 where "
        "the grader itself failed on a submission.",
    )
    add, path = parser.add_argument, {"type": Path, "metavar": "FILE"}
    add(
        "submissions", type=Path, metavar="SUBMISSIONS",
        help="a folder with a folder for each student, or with files named STUDENT-CHAPTER.ipynb; "
        "what Canvas and Moodle give is read as it is, once unpacked",
    )  # fmt: skip
    add(
        "--against", type=Path, required=True, action="append", metavar="BOOK",
        help="an assigned notebook, with solutions, or a folder with them; may be said again",
    )  # fmt: skip
    add("--report", type=Path, required=True, metavar="GRADES", help="where to write")
    add("--jobs", type=int, metavar="N", help="submissions at one time (default: one a core)")
    add("--cluster", metavar="ADDRESS", help="grade on the Dask cluster of this scheduler")
    add("--hidden", **path, help="a Python file with checks that students do not get")
    add(
        "--times",
        **path,
        help="CSV with the columns student, file and submitted; default: the files' own times",
    )
    add("--roster", **path, help="CSV: the class, as Canvas or Moodle exports it")
    add("--again", action="store_true", help="grade all anew")
    add("--whole", action="store_true", help="run every cell, also those that no answer needs")

    group = parser.add_argument_group("late and repeated submissions")
    group.add_argument(
        "--keep", choices=("last", "best"), default="last",
        help="which of a student's submissions counts (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--due", metavar="TIME",
        help='after this a submission is late: "2026-10-01 23:59", of this machine\'s time zone; '
        'or with another: "2026-10-01 23:59+02:00"',
    )  # fmt: skip
    group.add_argument(
        "--late", type=float, default=1.0, metavar="SHARE",
        help="what a late one earns, from 0 to 1 of its points (default: %(default)s)",
    )  # fmt: skip

    group = parser.add_argument_group("where the students' code runs, and what it may use")
    group.add_argument(
        "--sandbox", default="auto", metavar="LEVEL",
        help=f"auto (the strongest there is), {', '.join((*LEVELS, *ENGINES))}",
    )  # fmt: skip
    group.add_argument("--image", default="", metavar="NAME", help="of the container")
    for one in fields(Limits):
        unit, kind, what = _HELP[one.name]
        group.add_argument(
            _flag(one.name), type=kind or _size, default=one.default, metavar=unit.upper(),
            dest=f"limit_{one.name}", help=f"{what} (default: {_shown(one.default, unit)})",
        )  # fmt: skip
    parser.set_defaults(run=_grade)


def _flag(name: str) -> str:
    seconds = name in ("cell", "notebook", "cpu")
    return f"--{name}-seconds" if seconds else "--file-size" if name == "file" else f"--{name}"


def _shown(value: float, unit: str) -> str:
    if unit == "size":
        return f"{value // 2**30}G" if value % 2**30 == 0 else f"{value // MIB}M"
    return f"{value:g}"


def _size(text: str) -> int:
    """Bytes: ``4G``, ``512M``, ``1000000``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"expected a size such as 4G or 512M, found {text!r}")
    return int(float(match[1]) * _SIZES[match[2].upper()])


def _due(text: str | None) -> datetime | None:
    """A moment; one that names no time zone is of this machine's.

    :raises ValueError: no date and time.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        found = None
    if found is None or not re.search(r"\d[T ]\d", text.strip()):
        raise ValueError(
            f'--due: expected a date and a time such as "2026-10-01 23:59", found {text!r}'
        )
    return found if found.tzinfo else found.astimezone()


def _settings(args: argparse.Namespace) -> Settings:
    given = {one.name: getattr(args, f"limit_{one.name}") for one in fields(Limits)}
    if args.image and args.sandbox not in ENGINES:
        raise ValueError(f"--image is of a container, and --sandbox is {args.sandbox!r}")
    if args.late != 1 and args.due is None:
        raise ValueError("--late says what a late submission earns; say --due as well")
    due = _due(args.due)
    try:
        limits, rule = Limits(**given), Rule(args.keep, due, args.late)
    except ValueError as error:  # which begins with the name of the field
        name, _, rest = str(error).partition(": ")
        raise ValueError(f"{_flag(name)}: {rest}") from error
    return Settings(limits, args.sandbox, args.image, args.whole, rule)


def _grade(args: argparse.Namespace) -> int:
    settings = _settings(args)
    if args.jobs is not None and args.jobs < 1:
        raise ValueError(f"--jobs: expected at least 1, found {args.jobs}")
    if not args.cluster:
        from .server import start_server

        start_server()  # it imports what is slow while this process does
    from .classes import grade_class  # it imports torch

    if settings.rule.due:
        print(f"due {settings.rule.due:%Y-%m-%d %H:%M %z}: {settings.rule}", flush=True)
    try:
        graded = grade_class(
            args.submissions, args.against, args.report, settings,
            hidden=args.hidden, times=args.times, roster=args.roster, workers=args.jobs,
            cluster=args.cluster, again=args.again, say=_say,
        )  # fmt: skip
    except KeyboardInterrupt:
        print(
            f"advlab: interrupted; what was graded is kept in {args.report}, and the same command "
            "goes on from there",
            file=sys.stderr,
        )
        return 130
    _print(graded)
    return 1 if graded.failed else 0


def _say(sandbox, text: str) -> None:
    from .sandbox import passed_over

    if not sandbox.isolated:
        print(
            "advlab: NOT ISOLATED: the students' code runs with your rights, and can read and "
            "write what you can. Install bubblewrap, or choose --sandbox docker or podman.",
            file=sys.stderr,
        )
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        print(
            "advlab: you are root, which grading does not need: the students' code runs as "
            "another user, the rest as you"
            if sandbox.isolated
            else "advlab: you are root, and so is the students' code: it can read and write every "
            "file of this machine",
            file=sys.stderr,
        )
    for name, why in passed_over(sandbox).items():
        if why:
            print(f"advlab: not in {name!r}: {why}", file=sys.stderr)
    kept = sandbox.promises if not sandbox.isolated else f"a student's code {sandbox.promises}"
    print(f"sandbox {sandbox.name}: {kept}")
    print(f"{text}\nfirst the chapters' own solutions, then the class", flush=True)


def _print(graded) -> None:
    from .summary import by_which_times

    width = max(len(label) for label, _ in graded.numbers)
    print()
    for label, value in graded.numbers:
        whence = f"  ({by_which_times(graded.gradebook)})" if label == "late" else ""
        print(f"{label:<{width}}  {value}{whence}")
    for sentence in graded.unmatched:
        print(sentence)
    print(f"\ngradebook  {graded.report / 'gradebook.csv'}")
    print(f"summary    {graded.report / 'index.html'}")
    if graded.failed:
        print(
            f"advlab: the grader itself failed on {graded.failed}; their reasons are in the "
            "gradebook, and the same command tries them again",
            file=sys.stderr,
        )
