"""The layouts that Canvas and Moodle import, and who is who in a class list."""

from __future__ import annotations

import csv
import io

import pytest

from advlab.course.grading.columns import canvas, moodle, unplaced
from advlab.course.grading.gradebook import collect
from advlab.course.grading.results import BROKEN, GRADED, PASSED, Mark, Result
from advlab.course.grading.roster import Person, Roster, read_roster
from advlab.course.grading.settings import Rule
from advlab.course.grading.submissions import Submission

POINTS = {"04-fgsm": {"4.1": 1, "4.2": 2}, "05-many-steps": {"5.1": 5}}
CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,04-fgsm (77),Current Score
    Points Possible,,,,,3,(read only)
"Lovelace, Ada",11,S11,ada,Course A,,
"Noether, Emmy",12,S12,emmy@example.com,Course A,,
"Curie, Marie",13,S13,mcurie,Course B,,
"Student, Test",,,,Course B,,
"""
MOODLE = """\
First name,Last name,ID number,Institution,Department,Email address,Last downloaded
Ada,Lovelace,S11,,,ada@example.com,1
Emmy,Noether,S12,,,Emmy@Example.com,1
"""


def gradebook(*students: str):
    marks = (Mark("4.1", "t", 1, 0.5, PASSED, ""), Mark("4.2", "t", 2, 2, PASSED, ""))
    pairs = [
        (Submission(s, None, "04-fgsm"), Result("04-fgsm", GRADED, "", marks)) for s in students
    ]
    return collect(pairs, POINTS, Rule())


@pytest.fixture
def roster(tmp_path):
    def write(text: str) -> Roster:
        (tmp_path / "roster.csv").write_text(text, encoding="utf-8-sig")
        return read_roster(tmp_path / "roster.csv")

    return write


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_canvas_without_a_list():
    assert rows(canvas(gradebook("ada", "bo"))) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "04-fgsm", "05-many-steps"],
        ["Points Possible", "", "", "", "", "3", "5"],
        ["ada", "", "", "ada", "", "2.5", ""],
        ["bo", "", "", "bo", "", "2.5", ""],
    ]


def test_canvas_with_its_own_list(roster):
    text = canvas(gradebook("ada", "zed", "emmy@example.com"), roster(CANVAS))
    assert rows(text)[2:] == [
        ["Lovelace, Ada", "11", "S11", "ada", "Course A", "2.5", ""],
        ["Noether, Emmy", "12", "S12", "emmy@example.com", "Course A", "2.5", ""],
        ["zed", "", "", "", "", "2.5", ""],  # not in the list: told, and not dropped
    ]


def of_no_chapter(points, *students: str):
    marks = (Mark("4.1", "t", 1, 0.5, PASSED, ""),)
    good = (Submission("ada", None, "04-fgsm"), Result("04-fgsm", GRADED, "", marks))
    bad = [(Submission(s, None, problem="no JSON"), Result("", BROKEN)) for s in students]
    return collect([good, *bad], points, Rule())


@pytest.mark.parametrize("layout", [canvas, moodle])
def test_what_is_broken_is_of_the_only_chapter_and_earns_nothing(layout):
    found = of_no_chapter({"04-fgsm": {"4.1": 1}}, "dan")
    assert [line[-1] for line in rows(layout(found))[-2:]] == ["0.5", "0"]
    assert unplaced(found) == ()


def test_a_cell_is_empty_where_the_chapter_cannot_be_told_and_that_is_said():
    found = of_no_chapter(POINTS, "dan", "eve")
    assert rows(canvas(found))[-1][-2:] == ["", ""]
    said = "no chapter could be told for: dan, eve; their cells are left empty"
    assert unplaced(found) == (said,)


def test_moodle_without_a_list():
    assert rows(moodle(gradebook("ada"))) == [
        ["ID number", "Username", "Full name", "Email address", "04-fgsm", "05-many-steps"],
        ["", "ada", "ada", "", "2.5", ""],
    ]


def test_moodle_with_its_own_list(roster):
    text = moodle(gradebook("Ada Lovelace", "emmy@example.com", "zed"), roster(MOODLE))
    assert rows(text)[1:] == [
        ["S11", "", "Ada Lovelace", "ada@example.com", "2.5", ""],
        ["S12", "", "Emmy Noether", "Emmy@Example.com", "2.5", ""],
        ["", "", "zed", "", "2.5", ""],
    ]


@pytest.mark.parametrize("layout", [canvas, moodle])
def test_names_are_no_formulas(layout):
    assert "'=1+1" in rows(layout(gradebook("=1+1")))[-1]
    assert not [
        cell for line in rows(layout(gradebook("=1+1"))) for cell in line if cell[:1] == "="
    ]


@pytest.mark.parametrize(
    ("student", "number"),
    [
        ("ada", "11"),
        ("ADA", "11"),
        ("Lovelace, Ada", "11"),
        ("Ada Lovelace", "11"),
        ("ada lovelace", "11"),
        ("lovelaceada", "11"),  # as Canvas names the files that it gives out
        ("lovelaceada_11", "11"),
        ("ada lovelace_13", "13"),  # two of one name: the number says which
        ("S12", "12"),
        ("12", "12"),
        ("emmy@example.com", "12"),
        ("EMMY@EXAMPLE.COM", "12"),
        ("nobody", None),
        ("Points Possible", None),
        ("", None),
    ],
)
def test_who_is_who(roster, student, number):
    found = roster(CANVAS).match([student])
    assert (found[student].id if student in found else None) == number


def test_without_accents_as_a_last_resort():
    people = tuple(Person(name=name) for name in ("O'Neil, Ann", "José Peña", "Jose Pena"))
    found = Roster(people).match(["Ann O'Néil", "Jose Pena", "José Peña", "Jösé Pena"])
    assert {student: person.name for student, person in found.items()} == {
        "Ann O'Néil": "O'Neil, Ann",
        "Jose Pena": "Jose Pena",
        "José Peña": "José Peña",
    }


def test_who_does_not_fit_together_is_told():
    people = Roster((Person(name="Ada"), Person(name="Max"), Person(login="eve")))
    assert people.unmatched(["Ada", "Zed", "Zoe"]) == (
        "not found in the roster: 2: Zed, Zoe",
        "in the roster, handed in nothing: 2: Max, eve",
    )
    assert people.unmatched(["Ada", "Max", "eve"]) == ()


def test_the_head_of_canvas_list_is_no_student(roster):
    people = roster(CANVAS).people
    assert [person.name for person in people] == [
        "Lovelace, Ada",
        "Noether, Emmy",
        "Curie, Marie",
        "Student, Test",
    ]


def test_the_login_goes_before_the_name():
    ada, bo = Person("Ada", "1", login="bo"), Person("bo", "2", login="x")
    assert Roster((ada, bo)).match(["bo"]) == {"bo": ada}


def test_who_could_be_two_is_nobody():
    twins = Roster((Person("Ada King", "1"), Person("Ada King", "2")))
    assert twins.match(["Ada King"]) == {}
    assert twins.match(["Ada King_2"])["Ada King_2"].id == "2"


def test_two_students_are_not_one_person():
    one = Roster((Person("Ada", "1", login="ada"),))
    assert one.match(["Ada", "ada"]) == {"ada": one.people[0]}  # as it is written goes first
    assert one.match(["ADA", "aDa"]) == {}


def test_moodles_worksheet_is_a_list_too(roster):
    text = "Identifier,Full name,Email address,Status\nParticipant 5,Ada King,a@example.com,x\n"
    assert roster(text).match(["Ada King"])["Ada King"].email == "a@example.com"


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n"])
def test_a_list_of_nobody(roster, text):
    with pytest.raises(ValueError, match="expected a class list from Canvas or Moodle"):
        roster(text)


def test_a_list_that_is_not_text(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"Student\n\xff\xfe")
    with pytest.raises(ValueError, match="expected a CSV file in UTF-8"):
        read_roster(tmp_path / "x.csv")


@pytest.mark.parametrize(
    "name", ["Points Possible", "points  possible", "Points\u00a0Possible", "Po\u200bints Possible"]
)
def test_a_student_is_never_the_row_of_points(roster, name):
    text = canvas(gradebook(name), None)
    first = [line[0] for line in rows(text)]
    assert first[1] == "Points Possible"
    assert first[2].lower() == "points-possible"


DOERTE = 'Student,ID,SIS Login ID\n"Meyer, Dörte",504,dm\nAda King,1,a1\nAda King,2,a2\n'


def test_the_number_in_the_files_name_decides_where_nothing_else_does(roster):
    people = roster(DOERTE)
    found = people.match({"meyerdoerte": "504", "adaking": "2", "bo": "", "dm2": "77"})
    assert {student: person.id for student, person in found.items()} == {
        "meyerdoerte": "504",
        "adaking": "2",
    }
    assert people.match({"a1": "504"})["a1"].id == "1"  # a login goes before it
    assert people.match(["meyerdoerte"]) == {}
    assert people.match({"adaking": "504"}) == {}  # the name says one of two, and this is neither


def test_moodles_number_is_the_participants(roster):
    people = roster("Identifier,Full name\nParticipant 12,Zoë Ö\nParticipant 13,Bo\n")
    assert people.match({"Zoe Oe": "12"})["Zoe Oe"].name == "Zoë Ö"


def test_the_number_reaches_the_roster_and_the_columns(roster):
    one = Submission("meyerdoerte", None, "04-fgsm", number="504")
    marks = (Mark("4.1", "t", 1, 1, PASSED, ""),)
    book = collect([(one, Result("04-fgsm", GRADED, "", marks))], POINTS, Rule())
    assert book.students == {"meyerdoerte": "504"}
    assert rows(canvas(book, roster(DOERTE)))[-1][:2] == ["Meyer, Dörte", "504"]


def test_names_with_commas_stand_between_semicolons(roster):
    people = roster(CANVAS)
    assert people.unmatched(["Meyer, Dörte", "Zoe", "ada"]) == (
        "not found in the roster: 2: Meyer, Dörte; Zoe",
        # Canvas's own "Student, Test" is nobody.
        "in the roster, handed in nothing: 2: Noether, Emmy; Curie, Marie",
    )


def test_a_table_of_times_is_no_class_list(roster):
    with pytest.raises(ValueError, match="a table of times, which belongs to --times"):
        roster("student,file,submitted\nada,,2026-01-01T10:00Z\n")
