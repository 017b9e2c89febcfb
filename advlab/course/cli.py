"""``advlab release``, ``advlab execute`` and ``advlab grade``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .grading.clean import count
from .grading.cli import add_grade


def add_commands(subparsers) -> None:
    """Register the commands; each sets ``run``, a function of the parsed arguments that returns
    the exit status."""
    parser = subparsers.add_parser(
        "release",
        help="write the students' notebooks: solutions and outputs out, all else as it is",
    )
    parser.add_argument("source", type=Path, help="a notebook, or a folder with notebooks")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where to write")
    parser.add_argument(
        "--force", action="store_true", help="overwrite notebooks that somebody has worked in"
    )
    parser.set_defaults(run=_release)

    parser = subparsers.add_parser("execute", help="run chapters and store their outputs")
    parser.add_argument("source", type=Path, help="a notebook, or a folder with notebooks")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only chapters named so: 04")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where the text differs"
    )
    parser.add_argument(
        "--timeout", type=int, default=600, metavar="SECONDS", help="for one cell (600)"
    )
    parser.set_defaults(run=_execute)

    add_grade(subparsers)


def _release(args: argparse.Namespace) -> int:
    from .release import release

    written, exercises = release(args.source, args.to, force=args.force)
    print(f"{count(len(written), 'notebook')} with {count(exercises, 'exercise')} in {args.to}")
    return 0


def _execute(args: argparse.Namespace) -> int:
    from .execute import execute_all
    from .notebooks import find_notebooks

    paths = _chosen(find_notebooks(args.source), args.names)
    runs = execute_all(paths, check=args.check, timeout=args.timeout)
    failed = [run.path.name for run in runs if not run.ok]
    seconds = sum(run.seconds for run in runs)
    done = "compared" if args.check else "run"
    print(f"{count(len(runs), 'chapter')} {done} in {seconds:.1f} s, {len(failed)} failed")
    return 1 if failed else 0


def _chosen(paths: list[Path], names: list[str]) -> list[Path]:
    from .notebooks import NotebookError

    for name in names:
        if not any(_named(path, name) for path in paths):
            there = ", ".join(path.stem for path in paths)
            raise NotebookError(f"no chapter {name!r}; there are: {there}")
    return [p for p in paths if not names or any(_named(p, name) for name in names)]


def _named(path: Path, name: str) -> bool:
    """By its file's name, or by the start of it: ``4``, ``04``, ``04-fgsm``, ``04-fgsm.ipynb``."""
    stem = Path(name).name.removesuffix(".ipynb")
    return path.stem == stem or path.stem.split("-")[0] in (stem, stem.zfill(2))
