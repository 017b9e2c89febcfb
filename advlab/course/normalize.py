"""A run notebook in a form that depends on nothing but its code: same code, same bytes.

Gone are times, counters of the machine and names drawn at random: widget models are numbered in
order of appearance, pieces of one stream are joined, images lose their comments, and the metadata
name "Python 3" and no version.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
import sys
import sysconfig
import tempfile
from pathlib import Path

from nbformat import NotebookNode, from_dict

WIDGETS = "application/vnd.jupyter.widget-state+json"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
_REFERENCE = re.compile(r"IPY_MODEL_([\w-]+)")


def normalize(notebook: NotebookNode) -> NotebookNode:
    """Changes the notebook and returns it. Twice is the same as once."""
    notebook.metadata["kernelspec"] = from_dict(KERNEL)
    notebook.metadata["language_info"] = from_dict(LANGUAGE)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        cell.metadata.pop("ExecuteTime", None)
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
            for output in cell.outputs:
                output.pop("transient", None)
                _clean_images(output)
    _number_widgets(notebook)
    return notebook


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Neighboring pieces of the same stream as one: where a kernel cuts it is a matter of time."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def _clean_images(output: NotebookNode) -> None:
    if "image/png" in output.get("data", {}):
        try:
            data = base64.b64decode(output.data["image/png"])
            output.data["image/png"] = base64.b64encode(without_comments(data)).decode() + "\n"
        except (binascii.Error, struct.error):
            pass  # no PNG after all: it stays as it is


def without_comments(png: bytes) -> bytes:
    """A PNG without its chunks of text and time, which name the program and the moment."""
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        return png
    kept, at = [png[:8]], 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        chunk = png[at : at + 12 + length]
        if kind not in (b"tEXt", b"iTXt", b"zTXt", b"tIME"):
            kept.append(chunk)
        at += len(chunk)
    return b"".join(kept)


def _number_widgets(notebook: NotebookNode) -> None:
    """Name widget models 0…01, 0…02, …: first those shown, in order, each with what it is made of.

    Models that nothing on the page leads to are left out, but for links between those shown.
    """
    state = notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state")
    if state is None:
        return
    order: dict[str, None] = {}

    def visit(model: str) -> None:
        if model in state and model not in order:
            order[model] = None
            for inner in _REFERENCE.findall(json.dumps(state[model], sort_keys=True)):
                visit(inner)

    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get("application/vnd.jupyter.widget-view+json", {})
            visit(view.get("model_id", ""))
    links = {}
    for model, content in state.items():
        if "Link" in content["model_name"]:
            ends = _REFERENCE.findall(json.dumps(content, sort_keys=True))
            if ends and all(end in order for end in ends):
                # What a link joins tells it from the others; the order it was made in may not.
                ends = [list(order).index(end) for end in ends]
                links[model] = (ends, json.dumps(_unnamed(content), sort_keys=True))
    for model in sorted(links, key=links.get):
        visit(model)
    names = {old: f"{n:032x}" for n, old in enumerate(order, 1)}
    pattern = re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def renamed(value):
        text = pattern.sub(lambda match: names[match[0]], json.dumps(value))
        return from_dict(json.loads(text))

    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [renamed(output) for output in cell.outputs]
    kept = {names[old]: renamed(state[old]) for old in order}
    if kept:
        notebook.metadata.widgets[WIDGETS]["state"] = from_dict(kept)
    else:
        notebook.metadata.pop("widgets")


def _unnamed(content: dict) -> dict:
    return json.loads(_REFERENCE.sub("", json.dumps(content)))


# What a stored output may hold -------------------------------------------------------------------


def text_outputs(cell: NotebookNode) -> str:
    """What a cell prints and what its values look like as text; no figures, no warnings."""
    parts = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream" and output.name == "stdout":
            parts.append(output.text)
        elif output.output_type == "error":
            parts.append(f"{output.ename}: {output.evalue}")
        else:
            data = output.get("data", {})
            if not any(kind.startswith("image/") or "widget" in kind for kind in data):
                parts.append(data.get("text/plain", ""))
    return "\n".join(parts)


def unportable(notebook: NotebookNode, folders: list[Path]) -> list[str]:
    """What the outputs tell of the machine they were made on, a line for each: paths, addresses.

    :param folders: paths that must not show, besides the home, the environment and temporary files.
    """
    private = [*folders, Path.home(), Path(sys.prefix), Path(tempfile.gettempdir())]
    private.append(Path(sysconfig.get_paths()["purelib"]))
    names = sorted({str(p).rstrip("/\\") for p in private} - {""}, key=len, reverse=True)
    paths = [rf"{re.escape(name)}(?=[/\\])" for name in names]
    pattern = re.compile("|".join([*paths, "site-packages", r"\bat 0x\w+"]))
    found = []
    for n, cell in enumerate(notebook.cells, 1):
        for text in _texts(cell):
            if match := pattern.search(text):
                line = text[text.rfind("\n", 0, match.start()) + 1 :].splitlines()[0]
                found.append(f"cell {n} shows what belongs to this machine: {line[:200]!r}")
                break
    return found


def _texts(cell: NotebookNode) -> list[str]:
    texts = []
    for output in cell.get("outputs", []):
        texts += [output.get("text", ""), *output.get("traceback", [])]
        for kind, value in output.get("data", {}).items():
            if not kind.startswith(("image/png", "image/jpeg", "application/pdf")):
                texts.append(value if isinstance(value, str) else json.dumps(value))
    return texts
