"""What lies in a folder of submissions: whose each file is, and which of them are notebooks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from .clean import escaped, one_line, shortened
from .filenames import Named, chapter_in, from_file, from_folder, is_hidden, wrong_name

DEEPEST = 3  # a notebook may stand in a folder in a folder of the student's folder
MOST_FILES = 5_000  # in one student's folder, and
MOST_OPENED = 100  # notebooks, each of which may be 20 MB and take seconds to read
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@dataclass(frozen=True)
class Found:
    """One thing that lies there: a notebook, or what stands for none.

    :param named: what its name, or that of its folder, says about the student.
    :param path: None where there is nothing to be opened.
    :param chapter: in the file's name; it need not be one of the book's.
    :param size: in bytes, and
    :param changed: when, in seconds, as the system says before it is opened.
    :param problem: why it is not read, in a sentence; empty where it is.
    :param notes: for the student.
    """

    named: Named
    path: Path | None
    chapter: str = ""
    size: int = 0
    changed: float = 0.0
    problem: str = ""
    notes: tuple[str, ...] = ()


def look(folder: Path, chapters: Iterable[str]) -> Iterator[Found]:
    """Everything in a folder of submissions: at least one for each file and folder in it.

    :param chapters: the names of the book's.
    """
    chapters = list(chapters)
    for entry in _entries(folder):
        if problem := wrong_name(entry.name):
            said = sentence(escaped(entry.name), problem)
            yield Found(Named(entry.name, "", ""), None, problem=said)
        elif is_hidden(entry.name):
            continue
        elif entry.is_dir(follow_symlinks=False):
            yield from _Folder(folder / entry.name, chapters).all()
        else:
            yield _file(folder, entry, chapters)


def sentence(name: str, problem: str) -> str:
    """A reason, with the name of what it is about."""
    return f"{one_line(name)}: {problem}"


def _entries(folder: Path) -> list[os.DirEntry]:
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


def _file(folder: Path, entry: os.DirEntry, chapters: list[str]) -> Found:
    path = folder / entry.name
    suffix = path.suffix.lower()
    stem = path.stem if suffix in (".ipynb", *_ARCHIVES) else entry.name
    named, problem = from_file(stem, chapters), ""
    if entry.is_symlink():
        problem = "a symbolic link, and links are not followed"
    elif suffix in _ARCHIVES:
        problem = "an archive: unpack it into a folder first"
    elif suffix != ".ipynb":
        problem = "not a notebook: expected STUDENT-CHAPTER.ipynb, or a folder"
    elif not named.student:
        problem = f"its name says no student: expected STUDENT-{entry.name.lstrip('-_ .')}"
    whose = named if named.student else Named(entry.name, "", "")
    if problem:
        return Found(whose, path, named.chapter, problem=sentence(entry.name, problem))
    return _notebook(whose, entry, path, named.chapter)


def _notebook(named: Named, entry: os.DirEntry, path: Path, chapter: str) -> Found:
    try:
        state = entry.stat(follow_symlinks=False)
    except OSError:
        return Found(named, path, chapter)  # the reading will say why
    return Found(named, path, chapter, state.st_size, state.st_mtime)


@dataclass
class _Folder:
    """A student's folder, and what was seen there so far."""

    top: Path
    chapters: list[str]
    found: list[Found] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.named = from_folder(self.top.name)

    def all(self) -> list[Found]:
        """The notebooks; a reason where there is none."""
        self._walk()
        if not self.found:
            self._add(" ".join([_no_notebook(self.beside), *self.notes]))
        elif self.beside:
            self.notes.append(f"Files beside the notebook are not used: {shortened(self.beside)}.")
        return [replace(one, notes=tuple(self.notes)) for one in self.found]

    def _add(self, problem: str) -> None:
        self.found.append(Found(self.named, None, problem=problem))

    def _walk(self) -> None:
        waiting, seen, opened = [self.top], 0, 0
        while waiting:
            here = waiting.pop(0)
            try:
                entries = _entries(here)
            except OSError as error:
                self._add(sentence(here.name, f"the folder cannot be read ({error.strerror})"))
                continue
            for entry in entries:
                if is_hidden(entry.name) and not wrong_name(entry.name):
                    continue
                path = here / entry.name
                is_folder = entry.is_dir(follow_symlinks=False)
                is_notebook = path.suffix.lower() == ".ipynb" and not is_folder
                seen += 1
                opened += is_notebook
                if seen > MOST_FILES or opened > MOST_OPENED:
                    most, what = MOST_FILES, "files"
                    if opened > MOST_OPENED:
                        most, what = MOST_OPENED, "notebooks"
                    problem = f"more than {most:,} {what}, and the rest was not read"
                    return self._add(sentence(self.top.name, problem))
                if (wrong := wrong_name(entry.name)) and (is_notebook or is_folder):
                    self._add(sentence(escaped(entry.name), wrong))
                elif is_notebook:
                    said = chapter_in(path.stem, self.chapters)[0]
                    self.found.append(_notebook(self.named, entry, path, said))
                elif not is_folder:
                    self.beside.append(path.relative_to(self.top).as_posix())
                elif len(path.relative_to(self.top).parts) < DEEPEST:
                    waiting.append(path)
                else:
                    name = one_line(entry.name)
                    self.notes.append(f"The folder {name} is too deep, and was not read.")


def _no_notebook(beside: list[str]) -> str:
    archives = [name for name in beside if name.lower().endswith(_ARCHIVES)]
    if archives:
        return (
            f"no notebook in the folder, but an archive: unpack it first ({shortened(archives)})."
        )
    if beside:
        return f"no notebook in the folder; found {shortened(beside)}."
    return "no notebook in the folder."
