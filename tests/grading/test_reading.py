"""A file of somebody else's folder: how much of it is read, and that no link is followed."""

from __future__ import annotations

import os
import socket

import pytest
from handed_in import BOOK, broken, put, the_one

from advlab.course.grading import reading
from advlab.course.grading.reading import LARGEST, Unreadable, read_file
from advlab.course.grading.submissions import find


def test_100_mb_are_not_read(folder, monkeypatch):
    path = folder / "ada-04-fgsm.ipynb"
    with open(path, "wb") as file:
        file.truncate(100 * 10**6)
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda p, *a, **k: opened.append(p) or real(p, *a, **k))
    one = broken(folder, "100 MB, and at most 20 MB are read: clear the outputs")
    assert one.chapter == "04-fgsm"
    assert path.name not in opened


def test_a_file_that_grows_while_it_is_read(folder, monkeypatch):
    path = put(folder / "ada-04-fgsm.ipynb", b" " * 100)
    monkeypatch.setattr(reading, "LARGEST", 10)
    monkeypatch.setattr(reading, "_check", lambda *_: None)
    with pytest.raises(Unreadable, match="larger than"):
        read_file(path, folder)
    assert LARGEST == 20_000_000


# Links and special files -------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path):
    return put(tmp_path / "teacher" / "04-fgsm.ipynb")


def test_links_are_not_followed(folder, secret):
    (folder / "ada-04-fgsm.ipynb").symlink_to(secret)
    (folder / "bo").symlink_to(secret.parent)
    (folder / "cy").mkdir()
    (folder / "cy" / "04-fgsm.ipynb").symlink_to(secret)
    (folder / "di").mkdir()
    (folder / "di" / "all").symlink_to(secret.parent)
    (folder / "ed-04-fgsm.ipynb").symlink_to(folder / "nowhere")
    found = {one.student: one for one in find(folder, BOOK)}
    assert set(found) == {"ada", "bo", "cy", "di", "ed"}
    for name in ("ada", "bo", "cy", "ed"):
        assert "a symbolic link, and links are not followed" in found[name].problem, name
    assert "no notebook in the folder; found all" in found["di"].problem


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    put(folder / "ada-04-fgsm.ipynb")
    (tmp_path / "link").symlink_to(folder)
    assert the_one(tmp_path / "link").problem == ""


def test_a_link_put_there_later_is_not_followed(folder, secret):
    path = put(folder / "ada" / "04-fgsm.ipynb")
    assert the_one(folder).problem == ""
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(Unreadable, match="symbolic link"):
        read_file(path, folder)
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(secret.parent)
    with pytest.raises(Unreadable, match="symbolic link"):
        read_file(path, folder)


@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_a_link_put_there_between_the_look_and_the_opening(folder, secret, monkeypatch, swapped):
    path = put(folder / "ada" / "04-fgsm.ipynb", b"{}")
    real = os.open

    def swap(name, *args, **kwargs):
        if name == (path.name if swapped == "file" else "ada"):
            victim = path if swapped == "file" else path.parent
            victim.rename(folder / "away")
            victim.symlink_to(secret if swapped == "file" else secret.parent)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(Unreadable, match="cannot be read"):
        read_file(path, folder)


def test_a_path_out_of_the_folder_is_not_read(folder, secret):
    for path in (secret, folder / ".." / "teacher" / "04-fgsm.ipynb"):
        with pytest.raises(Unreadable, match="climbs out"):
            read_file(path, folder)


def test_special_files_are_not_waited_for(folder, monkeypatch):
    os.mkfifo(folder / "ada-04-fgsm.ipynb")
    listening = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(folder)  # the name of a socket must be short
    listening.bind("bo-04-fgsm.ipynb")
    (folder / "cy-04-fgsm.ipynb").mkdir()
    os.mkfifo(folder / "di")
    try:
        ada, bo, cy, di = find(folder, BOOK)
    finally:
        listening.close()
    for one in (ada, bo):
        assert "not a file but a folder, a pipe or a device" in one.problem
    assert "no notebook in the folder" in cy.problem
    assert "not a notebook" in di.problem


def test_a_pipe_put_there_between_the_look_and_the_opening(folder, monkeypatch):
    path = put(folder / "ada-04-fgsm.ipynb")
    real = os.open

    def swap(name, *args, **kwargs):
        if name == path.name:
            path.unlink()
            os.mkfifo(path)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", swap)  # a blocking open would wait for a writer for ever
    with pytest.raises(Unreadable, match="pipe"):
        read_file(path, folder)


def test_what_may_not_be_read(folder, monkeypatch):
    put(folder / "ada-04-fgsm.ipynb")
    put(folder / "bo" / "04-fgsm.ipynb")
    put(folder / "cy" / "04-fgsm.ipynb")
    real_open, real_scan = os.open, os.scandir

    def no_open(name, *args, **kwargs):
        if name == "ada-04-fgsm.ipynb":
            raise PermissionError(13, "Permission denied")
        return real_open(name, *args, **kwargs)

    def no_scan(path):
        if str(path).endswith("bo"):
            raise PermissionError(13, "Permission denied")
        return real_scan(path)

    monkeypatch.setattr(os, "open", no_open)
    monkeypatch.setattr(os, "scandir", no_scan)
    ada, bo, cy = find(folder, BOOK)
    assert "it cannot be read (Permission denied)" in ada.problem
    assert "the folder cannot be read (Permission denied)" in bo.problem
    assert cy.problem == ""
