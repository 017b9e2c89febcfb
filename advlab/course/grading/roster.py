"""Who is in the class, by a list that Canvas or Moodle exported."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .clean import shortened
from .table import read_table

MOST = 50  # names in a sentence

# Field of a person → the columns that may hold it, in small letters.
_COLUMNS = {
    "id": ("id", "identifier"),
    "number": ("sis user id", "id number"),
    "login": ("sis login id", "username"),
    "email": ("email address", "email"),
    "section": ("section",),
    "name": ("student", "full name"),
}
_TEST = "Student, Test"  # whom Canvas puts into every course for its teacher, and who is nobody
_FIRST, _LAST = ("first name", "firstname"), ("surname", "last name", "lastname")


@dataclass(frozen=True)
class Person:
    """One row of a list. What it does not say is empty.

    :param name: in full, as it stands there.
    :param id: Canvas's own number.
    :param number: SIS user ID in Canvas, ID number in Moodle.
    :param login: SIS login ID in Canvas, user name in Moodle.
    :param email: address.
    :param section: in Canvas.
    """

    name: str = ""
    id: str = ""
    number: str = ""
    login: str = ""
    email: str = ""
    section: str = ""


def read_roster(path: str | Path) -> Roster:
    """A class list, as Canvas or Moodle exports it.

    :param path: of a CSV file.
    :raises ValueError: it cannot be read, or no column says who somebody is.
    """
    header, rows = read_table(path)
    if {"file", "submitted"} <= set(header):
        raise ValueError(
            f"{path}: expected a class list, found the columns file and submitted: a table of "
            "times, which belongs to --times"
        )
    if not any(c in header for columns in (*_COLUMNS.values(), _LAST) for c in columns):
        raise ValueError(
            f"{path}: expected a class list from Canvas or Moodle, with a column such as Student, "
            f"SIS Login ID, Full name or Email address; found {', '.join(header) or 'no columns'}"
        )
    people = []
    for _, row in rows:
        said = {field: _first(row, columns) for field, columns in _COLUMNS.items()}
        given, family = _first(row, _FIRST), _first(row, _LAST)
        person = Person(**said | {"name": said["name"] or f"{given} {family}".strip()})
        # Canvas's second row is no student, nor is a row that names nobody.
        if person.name != "Points Possible" and person != Person(section=person.section):
            people.append(person)
    return Roster(tuple(dict.fromkeys(people)))


@dataclass(frozen=True)
class Roster:
    """Everybody in a class.

    :param people: in the order of the list.
    """

    people: tuple[Person, ...]

    def match(self, students: Mapping[str, str] | Iterable[str]) -> dict[str, Person]:
        """Whose submissions these are, by login, e-mail, ID or name, in that order.

        As it is written first, then without regard to case and form, at last without accents. Where
        that leaves nobody, or two, the number decides that Canvas or Moodle wrote into the file's
        name. Whoever could still be two people is nobody, and so are two students who could be the
        same person equally well.

        :param students: by name, each with the number, or with nothing; or names alone.
        """
        numbers = students if isinstance(students, Mapping) else {}
        claims: dict[Person, list[tuple[int, str]]] = {}
        tables, by_id = self._tables(), self._by_id()
        for student in students:
            rank, people = next(
                ((n, p) for n, (change, t) in enumerate(tables) if (p := t.get(change(student)))),
                (len(tables), []),
            )
            if len(people) != 1:
                own = by_id.get(numbers.get(student, ""), [])
                people = [person for person in own if person in people or not people]
            if len(people) == 1:
                claims.setdefault(people[0], []).append((rank, student))
        found = {}
        for person, claimed in claims.items():
            best = min(claimed)
            if [rank for rank, _ in claimed].count(best[0]) == 1:
                found[best[1]] = person
        return found

    def unmatched(self, students: Mapping[str, str] | Iterable[str]) -> tuple[str, ...]:
        """Who of the students is not in the list, and who of the list handed in nothing.

        :param students: as for :meth:`match`.
        """
        students = students if isinstance(students, Mapping) else list(students)
        found = self.match(students)
        strangers = [student for student in students if student not in found]
        known = set(found.values())
        absent = [
            p.name or p.login or p.email or p.id or p.number
            for p in self.people
            if p not in known and p.name != _TEST
        ]
        said = []
        if strangers:
            said.append(f"not found in the roster: {len(strangers)}: {shortened(strangers, MOST)}")
        if absent:
            said.append(
                f"in the roster, handed in nothing: {len(absent)}: {shortened(absent, MOST)}"
            )
        return tuple(said)

    def _tables(self) -> list[tuple[Callable[[str], str], dict[str, list[Person]]]]:
        tables = []
        fields = (lambda p: [p.login], lambda p: [p.email], lambda p: [p.id, p.number], _names)
        for change in (str, _folded, _letters, _bare):
            for field in fields:
                table: dict[str, list[Person]] = {}
                for person in self.people:
                    for key in {change(value) for value in field(person)} - {""}:
                        table.setdefault(key, []).append(person)
                tables.append((change, table))
        # Of two with one name, Canvas's number says which: "lovelaceada_123".
        tables.insert(len(fields), (_trailing_number, self._by_id()))
        return tables

    def _by_id(self) -> dict[str, list[Person]]:
        """By Canvas's number, or that of Moodle's "Participant 12"."""
        found: dict[str, list[Person]] = {}
        for person in self.people:
            if number := re.search(r"\d+$", person.id):
                found.setdefault(number[0], []).append(person)
        return found


def _first(row: dict[str, str], columns: Iterable[str]) -> str:
    return next((row[c] for c in columns if row.get(c)), "")


def _names(person: Person) -> list[str]:
    """``Ada Lovelace`` and ``Lovelace, Ada``, whichever is written."""
    family, comma, given = person.name.partition(",")
    if comma:
        return [person.name, f"{given.strip()} {family.strip()}"]
    given, _, family = person.name.rpartition(" ")
    return [person.name, f"{family}, {given}"] if given else [person.name]


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().strip()


def _letters(text: str) -> str:
    """Letters and digits only: in the names of downloaded files Canvas leaves out the rest."""
    return "".join(c for c in _folded(text) if c.isalnum())


def _bare(text: str) -> str:
    """Without accents, which systems that export lists, or pack files, leave out."""
    parts = unicodedata.normalize("NFKD", _folded(text))
    return _letters("".join(c for c in parts if not unicodedata.combining(c)))


def _trailing_number(text: str) -> str:
    found = re.search(r"_(\d+)$", text)
    return found[1] if found else ""
