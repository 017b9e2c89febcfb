"""Times ``advlab grade`` against nbgrader and otter-grader: python benchmarks/grading.py

The same 20 submissions are graded by ``advlab grade``, ``nbgrader autograde`` and ``otter run``,
one after the other and by two workers. A time is that of the whole command, from its start to its
end. The graders take turns, three times (otter-grader once); ratios are taken within a turn, and
the median counts. All must give each student the same points, or the run ends and says where they
differ.

With ``--write`` every turn is kept in results/grading.json the moment it is over, and the next run
goes on from there; with other sources of advlab or on another machine it starts anew. Else it
writes nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from graders import Grader, classroom
from graders.advlab import Advlab
from graders.deaths import deaths
from graders.environment import environment, versions
from graders.nbgrader import NBGrader
from graders.otter import Otter
from graders.scaling import SIZES, grade
from graders.watching import take_in_orphans, timed

from advlab.course.grading.jobs import version
from advlab.data.files import write_atomically
from advlab.provenance import provenance

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "grading.json"
ASSIGNMENTS = {
    "light": "the four exercises of chapter 4, after a cell of imports",
    "chapter": "chapter 4, all its cells",
}
SHARED = ("nbconvert", "nbclient", "nbval", "ipykernel", "jupyter_client", "pytest", "torch")
TIMED = ("nbgrader", "advlab")  # whose ratio has a goal; the others take one turn
MOST = 0.5  # of nbgrader's time


def contestants(kind: str, peers: Path) -> list[Grader]:
    """Ours runs only the cells that an answer needs; in the chapter that makes a difference, so
    it runs with all of them too."""
    whole = [Advlab(whole=True)] if kind == "chapter" else []
    return [NBGrader(peers), Advlab(), *whole, Otter(peers)]


def wanted(grader: Grader, names: list[str] | None) -> bool:
    return not names or grader.name.split(",")[0] in names


def turn(grader: Grader, room: classroom.Classroom, prepared: Path, workers: int) -> dict:
    """One grading of the whole class in a fresh copy of what was prepared."""
    folder = prepared.with_name("turn")
    shutil.copytree(prepared, folder)
    try:
        taken = timed(grader, grader.lanes(room, folder, workers), folder)
        row = {
            "grader": grader.name,
            "workers": workers,
            "seconds": round(taken.seconds, 2),
            "cpu seconds": round(taken.cpu, 2),
            "points": grader.points(room, folder),
        }
        if isinstance(grader, Advlab):
            row["sandbox"] = grader.sandbox(folder)
    finally:
        shutil.rmtree(folder)
    return row


def compare(points: dict, reference: dict, who: str) -> None:
    """:raises SystemExit: a grader gives other points than the first one that graded the class."""
    different = [
        f"{student}, {id}: {points[student].get(id, 'none')}, not {reference[student][id]:g}"
        for student in reference
        for id in reference[student]
        if points[student].get(id) != reference[student][id]
    ]
    if different:
        raise SystemExit(f"{who} gives other points: " + "; ".join(different))


def measure(report: dict, options: argparse.Namespace, keep) -> None:
    """All turns that the report does not hold yet, until the time is over."""
    end, peers = time.monotonic() + 60 * options.minutes, environment(options.environment)
    with tempfile.TemporaryDirectory(prefix="grading-") as scratch:
        rooms, agreed = {}, report["points"]
        for kind, number in itertools.product(options.assignment, range(options.turns)):
            graders = [g for g in contestants(kind, peers) if wanted(g, options.grader)]
            graders = [g for g in graders if number == 0 or g.name in TIMED]
            graders = graders[number % len(graders) :] + graders[: number % len(graders)]
            for workers, grader in itertools.product(options.workers, graders):
                name = {"assignment": kind, "turn": number, "grader": grader.name}
                name["workers"] = workers
                if any(name.items() <= row.items() for row in report["turns"]):
                    continue
                if time.monotonic() > end:
                    raise SystemExit(f"{options.minutes:g} minutes are over; run it again")
                folder = Path(scratch) / kind / grader.name.replace(", ", "-")
                if kind not in rooms:
                    room = classroom.draw(kind, Path(scratch) / kind / "book", options.students)
                    rooms[kind] = room
                if not folder.exists():
                    grader.prepare(rooms[kind], folder)
                row = turn(grader, rooms[kind], folder, workers)
                points = row.pop("points")
                compare(points, agreed.setdefault(kind, points), grader.name)
                report["turns"].append(name | row)
                print(json.dumps(name | row), flush=True)
                keep(report)


def summarize(report: dict) -> list[dict]:
    """A row for each assignment, grader and number of workers: medians over the turns."""
    rows = []
    places = dict.fromkeys((t["assignment"], t["workers"], t["grader"]) for t in report["turns"])
    for kind, workers, grader in places:
        of = {
            who: {t["turn"]: t for t in report["turns"] if key(t) == (kind, workers, who)}
            for who in (grader, "nbgrader")
        }
        mine, theirs = of[grader], of["nbgrader"]
        students = report["students"]
        row = {"assignment": kind, "workers": workers, "grader": grader, "turns": len(mine)}
        row["seconds a submission"] = median(t["seconds"] / students for t in mine.values())
        row["cpu seconds a submission"] = median(t["cpu seconds"] / students for t in mine.values())
        both = [n for n in mine if n in theirs]
        if both:
            ratios = [mine[n]["seconds"] / theirs[n]["seconds"] for n in both]
            row["of nbgrader's time"] = median(ratios)
            if grader == "advlab":
                row[f"at most {MOST:g}"] = statistics.median(ratios) <= MOST
        rows.append(row)
    return rows


def key(one: dict) -> tuple:
    return one["assignment"], one["workers"], one["grader"]


def median(values) -> float:
    return round(statistics.median(values), 3)


def fresh(options: argparse.Namespace, peers: Path) -> dict:
    made = provenance("cpu", SHARED)
    made["versions"] |= versions(peers) | {"advlab": version()}
    made["threads"], made["cores"] = 1, os.cpu_count()
    return {
        "command": "python benchmarks/grading.py --write",
        "students": options.students,
        "assignments": ASSIGNMENTS,
        "made": made,
        "points": {},  # that all graders gave, by assignment, student and exercise
        "turns": [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add, both = parser.add_argument, {"action": "append"}
    add("--assignment", **both, choices=list(ASSIGNMENTS), help="only this one")
    add("--grader", **both, help="only this one: advlab, nbgrader, otter")
    add("--workers", **both, type=int, choices=(1, 2), help="only so many")
    add("--students", type=int, default=20)
    add("--turns", type=int, default=3)
    add("--minutes", type=float, default=1e9, help="start no turn after so many")
    add("--environment", type=Path, default=ROOT / "_build" / "graders", help="of the peers")
    add("--write", action="store_true", help="keep each turn in results/grading.json")
    add("--deaths", action="store_true", help="only: how soon is a dead kernel noticed")
    add("--scaling", action="store_true", help="only: ours with 50, 200 and 500 students")
    add("--parts", action="store_true", help="only: where our time goes; written nowhere")
    options = parser.parse_args()
    options.assignment = options.assignment or list(ASSIGNMENTS)
    options.workers = options.workers or [1, 2]
    take_in_orphans()
    peers = environment(options.environment)
    report, before = fresh(options, peers), {}
    if options.write and RESULTS.exists():
        before = json.loads(RESULTS.read_text())
        same = ("students", "assignments")
        made = [{k: v for k, v in r["made"].items() if k != "date"} for r in (before, report)]
        if made[0] == made[1] and all(before[name] == report[name] for name in same):
            report = before

    def keep(report: dict) -> None:
        if options.write:
            report["rows"] = summarize(report)
            order = sorted(report, key=("turns", "points").count)  # the long parts last
            text = json.dumps({name: report[name] for name in order}, indent=1)
            write_atomically(RESULTS, f"{text}\n".encode())

    if options.parts:
        from graders import parts

        print(json.dumps({"processor seconds to import": parts.starts()}, indent=1))
        print(json.dumps({"seconds of a submission": parts.parts()}, indent=1))
        return
    if options.deaths or options.scaling:
        name = "deaths" if options.deaths else "scaling"
        rows = deaths(contestants("light", peers)) if options.deaths else map(grade, SIZES)
        report[name] = []
        for row in rows:
            report[name].append(row)
            print(json.dumps(row), flush=True)
            keep(report)
        return
    try:
        measure(report, options, keep)
    finally:
        for row in summarize(report):
            print(json.dumps(row))


if __name__ == "__main__":
    main()
