"""The verdicts on the hostile submissions: python benchmarks/hostile.py

Grades every case of tests/grading/hostile with two honest students among them, and prints a table:
what each tries, and what came of it. --level names a sandbox level (the strongest by default),
--family one family alone. --write puts the table into results/hostile.md beside this file.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from advlab.course.grading.clean import one_line
from advlab.data.files import write_atomically
from advlab.provenance import provenance

HERE = Path(__file__).parent
RESULTS = HERE / "results"
sys.path.insert(0, str(HERE.parent / "tests" / "grading"))
LIBRARIES = ("torch", "nbval", "ipykernel", "jupyter_client")


def rows(family: str, level: str) -> tuple[list[tuple[str, ...]], int, str]:
    """For each case: name, what it tries, verdict, points. How many are not as expected; level."""
    from hostile import FAMILIES
    from hostile.classroom import classes, faults, graded

    found, wrong, name = [], 0, level
    for group in classes(FAMILIES[family]):
        with graded(group, level) as outcome:
            name = outcome.graded.sandbox.name
            for case in group:
                entries = outcome.entries(case.student)
                problems = faults(case, entries)
                wrong += bool(problems)
                for problem in problems:
                    print(f"{case.name}: {problem}", file=sys.stderr)
                found.append((case.name, case.tries, verdict(entries[0]), points(entries[0])))
    order = [case.name for case in FAMILIES[family]]
    return sorted(found, key=lambda row: order.index(row[0])), wrong, name


def verdict(entry) -> str:
    """The word for the notebook, and the words of the exercises that did not pass."""
    result = entry.result
    words = [result.status]
    if result.status == "broken":
        words.append(result.reason)
    kept = [m for m in result.marks if not m.hidden and m.status not in ("passed", result.status)]
    for status in dict.fromkeys(mark.status for mark in kept):
        ids = ", ".join(mark.id for mark in kept if mark.status == status)
        words.append(f"{ids} {status}")
    return one_line("; ".join(words), 160).replace("|", "\\|")


def points(entry) -> str:
    return f"{entry.earned:g} of {entry.points:g}"


def table(found: list[tuple[str, ...]]) -> str:
    lines = ["| case | what it tries | verdict | points |", "|---|---|---|---:|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in found])


def main() -> int:
    from hostile import FAMILIES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--level", default="auto")
    parser.add_argument("--family", choices=list(FAMILIES))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    parts, wrong, total, level = [], 0, 0, options.level
    for family in [options.family] if options.family else list(FAMILIES):
        found, bad, level = rows(family, options.level)
        wrong, total = wrong + bad, total + len(found)
        parts.append(f"## {family.capitalize()}\n\n{table(found)}")
        print(parts[-1], flush=True)
    made = provenance("cpu", LIBRARIES)
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    command = shlex.join(["python", "benchmarks/hostile.py", *sys.argv[1:]])
    head = (
        f"`{command}`, {made['date']}, in the sandbox level *{level}*; Python {made['python']}, "
        f"{versions}; {made['processor']}.\n\n{total} submissions, each with the chapter's four "
        f"exercises and one hidden check (9 points); {total - wrong} got the verdict that they "
        "must get."
    )
    text = "\n\n".join((head, *parts)) + "\n"
    if options.write:
        write_atomically(RESULTS / "hostile.md", text.encode())
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
