"""MyST as plain Markdown, for a JupyterLab that has no extension for it.

Roles become words, citations are spelled out from ``references.bib``, admonitions become
quotations with a bold title, and dropdowns fold. Code, fenced or inline, stays as it is.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

# A role, or inline code: the same, without a name before it.
INLINE = re.compile(
    r"(?:\{(?P<role>[\w:.+-]+)\})?(?P<tick>`+)(?P<text>.+?)(?<!`)(?P=tick)(?!`)", re.S
)
FENCE = re.compile(r"( *)(:{3,}|`{3,}|~{3,})(?:\{([\w:.-]+)\}[ \t]*(.*)|([^`]*))$")
ADMONITIONS = (
    *("note", "tip", "hint", "important", "warning", "caution", "attention", "danger", "error"),
    *("seealso", "admonition", "margin", "sidebar", "topic", "exercise", "solution"),
)
CODE = {"code-block", "code", "code-cell", "sourcecode"}
INVISIBLE = {"bibliography", "tableofcontents", "toctree", "index", "contents"}


class Plain:
    """Called on the text of a cell.

    :param folder: of the chapter; holds ``references.bib`` and the pages that are referred to.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, source: str) -> str:
        """:raises ValueError: a citation that the bibliography does not have, an open fence."""
        return "\n".join(self._blocks(source.split("\n")))

    # Blocks: directives and targets, line by line ------------------------------------------------

    def _blocks(self, lines: list[str]) -> list[str]:
        done: list[str] = []
        text: list[str] = []  # lines that wait: a role may run over the end of a line
        n = 0
        while n < len(lines):
            fence = FENCE.match(lines[n])
            if fence is None:
                if not re.fullmatch(r"\s*\([\w:.-]+\)=\s*|%.*", lines[n]):  # targets and comments
                    text.append(re.sub(r"(\$\$)\s*\([\w:.-]+\)\s*$", r"\1", lines[n]))
                n += 1
                continue
            done += self._text(text)
            text = []
            end = self._end(lines, n, fence)
            body = lines[n + 1 : end]
            if fence[3]:
                done += [fence[1] + line if line else line for line in self._directive(fence, body)]
            elif fence[2][0] == ":":
                done += self._blocks(body)
            else:
                done += lines[n : end + 1]
            n = end + 1
        return done + self._text(text)

    @staticmethod
    def _end(lines: list[str], start: int, fence: re.Match) -> int:
        """The line that closes the fence: the same sign, at least as often, and nothing else."""
        mark = fence[2]
        closing = re.compile(rf" *{mark[0]}{{{len(mark)},}}\s*")
        inner = 0  # colon fences of one length nest
        for n in range(start + 1, len(lines)):
            opened = FENCE.match(lines[n])
            if opened and opened[3] and opened[2] == mark and mark[0] == ":":
                inner += 1
            elif closing.fullmatch(lines[n]):
                if not inner:
                    return n
                inner -= 1
        raise ValueError(f"the fence {lines[start].strip()!r} is not closed")

    def _directive(self, fence: re.Match, body: list[str]) -> list[str]:
        name, title = fence[3], self._inline((fence[4] or "").strip())
        body = [line.removeprefix(fence[1]) for line in body]
        options, body = _options(body)
        if name in INVISIBLE:
            return []
        if name in CODE:
            return [f"```{title or 'python'}", *body, "```"]
        if name == "math":
            return ["$$", *body, "$$"]
        if name in ("image", "figure"):
            caption = self._blocks(body)
            return [f"![{options.get('alt', '')}]({title})", *([""] if caption else []), *caption]
        inside = _trim(self._blocks(body))
        if name == "dropdown" or "dropdown" in options.get("class", ""):
            summary = title or name.capitalize()
            return ["<details>", f"<summary>{summary}</summary>", "", *inside, "", "</details>"]
        if name in ADMONITIONS:
            heading = title if name in ("admonition", "margin", "sidebar", "topic") else ""
            heading = heading or {"seealso": "See also"}.get(name, name.capitalize())
            if title and heading != title:  # "note" takes what follows its name as text
                inside = [title, *inside]
            quoted = [f"**{heading}**", "", *inside]
            return [f"> {line}".rstrip() for line in quoted]
        return [*([f"**{title}**", ""] if title else []), *inside]

    # Text: roles ---------------------------------------------------------------------------------

    def _text(self, lines: list[str]) -> list[str]:
        return self._inline("\n".join(lines)).split("\n") if lines else []

    def _inline(self, text: str) -> str:
        def words(match: re.Match) -> str:
            return self._role(match["role"], match["text"]) if match["role"] else match[0]

        return INLINE.sub(words, text)

    def _role(self, name: str, content: str) -> str:
        name = name.removeprefix("py:")
        if name.startswith("cite"):
            return self._cite(name, content)
        words, target = content, content
        if match := re.fullmatch(r"(.*?)\s*<([^<>]+)>", content, re.S):
            words, target = match[1], match[2]
        if name == "doc":
            return self._page(words if words != target else "", target)
        if name in ("ref", "numref"):
            words = re.sub(r"\s*(%s|\{number\})", "", words)
            return words if words != target else _label(target)
        if name == "eq":
            return "the equation above" if words == target else words
        if name == "math":
            return f"${content}$"
        if name in ("func", "class", "meth", "attr", "mod", "obj", "data", "exc", "code"):
            words = words.rsplit(".", 1)[-1] if words.startswith("~") else words
            return f"`{words}`"
        return words

    def _page(self, words: str, target: str) -> str:
        stem = target.rsplit("/", 1)[-1]
        for path in (self.folder / f"{stem}.ipynb", self.folder / f"{stem}.md"):
            if not words and path.is_file():
                text = path.read_text(encoding="utf-8")
                # In a notebook's JSON a line of text stands in quotes.
                if title := re.search(r'^\s*"?# (.+?)(?:\\n",?|",?)?$', text, re.M):
                    words = title[1]
        return f"[{words or stem}]({stem}.ipynb)" if _is(self.folder, stem) else words or stem

    def _cite(self, name: str, content: str) -> str:
        keys = [key.strip() for key in content.split(",")]
        works = [self._work(key) for key in keys]
        if name in ("cite:t", "cite:ts", "cite:ct"):
            return " and ".join(f"{who} ({year})" for who, year in works)
        if name.startswith("cite:author"):
            return " and ".join(who for who, _ in works)
        if name.startswith("cite:year"):
            return ", ".join(year for _, year in works)
        return f"({'; '.join(f'{who}, {year}' for who, year in works)})"

    def _work(self, key: str) -> tuple[str, str]:
        entry = self._bibliography.get(key)
        if entry is None:
            raise ValueError(f"{self.folder / 'references.bib'} has no entry {key!r}")
        from pybtex.richtext import Text

        people = entry.persons.get("author") or entry.persons.get("editor") or []
        names = [" ".join((*p.prelast_names, *p.last_names)) for p in people]
        names = [str(Text.from_latex(name)) for name in names]
        year = str(entry.fields.get("year", "n.d."))
        if not names:
            return str(Text.from_latex(entry.fields.get("title", key))), year
        if len(names) > 2:
            return f"{names[0]} et al.", year
        return " and ".join(names), year

    @cached_property
    def _bibliography(self) -> dict:
        path = self.folder / "references.bib"
        if not path.is_file():
            raise ValueError(f"the text cites, and {path} is not there")
        try:
            from pybtex.database import parse_file
        except ImportError as error:
            raise ValueError("reading references.bib needs pybtex: pip install pybtex") from error
        return dict(parse_file(str(path), bib_format="bibtex").entries)


def _is(folder: Path, stem: str) -> bool:
    return (folder / f"{stem}.ipynb").is_file()


def _label(target: str) -> str:
    """Words for a label that has none: ``fig-eps-curve`` is "the figure “eps curve”"."""
    kind, _, rest = target.partition("-")
    kinds = {"fig": "the figure", "tab": "the table", "eq": "the equation", "sec": "the section"}
    return (
        f"{kinds[kind]} “{rest.replace('-', ' ')}”" if kind in kinds else target.replace("-", " ")
    )


def _options(body: list[str]) -> tuple[dict[str, str], list[str]]:
    """The lines ``:key: value`` at the start of a directive, and what follows them."""
    options = {}
    n = 0
    while n < len(body) and (match := re.fullmatch(r"\s*:([\w-]+):\s*(.*)", body[n])):
        options[match[1]] = match[2]
        n += 1
    return options, body[n:]


def _trim(lines: list[str]) -> list[str]:
    start = next((n for n, line in enumerate(lines) if line.strip()), len(lines))
    end = next((n for n, line in enumerate(reversed(lines)) if line.strip()), 0)
    return lines[start : len(lines) - end]
