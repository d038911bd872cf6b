"""What the pages of the book say: text from text, nothing is read or written. `book` lays them out."""

import posixpath
import re
import shlex
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from nbconvert.filters import strip_ansi
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode, from_dict
from nbformat.v4 import new_markdown_cell

GROUPS = {"The paper": range(40), "Checks and experiments": range(40, 50), "The companion papers": range(50, 60)}
OTHERS = "Other notebooks"
PROMPTS = {
    "parameters": "Parameters and their defaults",
    "injected": "Parameters of this run",
    "setup": "Imports and places",
}
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_WIDGET = "(A live widget: to be seen where the notebook runs.)"
LINK = re.compile(
    r"(?P<code>^```.*?^```|(?P<tick>`+)(?!`).*?(?<!`)(?P=tick)(?!`))"
    r"|(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)",
    re.S | re.M,
)


def grouped(stems: Iterable[str]) -> dict[str, list[str]]:
    """Notebooks under the captions of the book, by the number that their names begin with; no caption is empty."""
    groups = {caption: [] for caption in [*GROUPS, OTHERS]}
    for stem in sorted(stems):
        number = int(found[0]) if (found := re.match(r"\d+(?=_)", stem)) else -1
        groups[next((caption for caption, numbers in GROUPS.items() if number in numbers), OTHERS)].append(stem)
    return {caption: members for caption, members in groups.items() if members}


def making(stem: str, profile: str, results: str = "") -> str:
    """The command that executes a notebook of a profile; for networks and studies that the profile lacks, of the one that has them."""
    imagenet = "imagenet" in profile
    if imagenet != stem.startswith("13") and stem[:2] in ("10", "11", "12", "13"):
        return "make reproduce" if imagenet else "make imagenet"
    if imagenet and stem.startswith("5"):
        return "make companions"
    if imagenet and stem.startswith("42"):
        return "make checks"
    folder = results or f"results/{profile}"
    elsewhere = f" RESULTS={folder}" if folder != f"results/{profile}" else ""
    return f"make {folder}/notebooks/{stem}.ipynb PROFILE={profile}{elsewhere}"


# --- links ------------------------------------------------------------------------------------------------------------
def linked(text: str, pages: dict[str, str], folder: str = ".", url: str = "") -> str:
    """Markdown whose relative links and pictures work on a page of the book.

    ``pages`` maps files of the repository to those of the book; other files are linked in the repository at ``url``, or without
    one named. ``folder`` is the text's own. Pictures are named from the repository's root. Code stays as it is.
    """

    def replaced(link: re.Match) -> str:
        shown, (target, _, anchor) = link["text"], (link["target"] or "").partition("#")
        if link["code"] or ":" in target or not target:
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if link["image"]:
            return f"![{shown}]({path})"
        if path in pages:
            return f"[{shown}]({pages[path]}{'#' * bool(anchor)}{anchor})"
        if url:
            return f"[{shown}]({url.rstrip('/')}/blob/HEAD/{path})"
        named = f"`{path}/`" if target.endswith("/") else f"`{path}`"
        return named if shown.strip("`/").lower() in path.lower() else f"{shown} ({named})"

    return LINK.sub(replaced, text)


def pictures(text: str) -> list[str]:
    """The local pictures that a Markdown text shows."""
    return [link["target"] for link in LINK.finditer(text) if link["image"] and ":" not in link["target"]]


def section(text: str, title: str) -> str:
    """What a Markdown text says under a heading of level two, up to the next heading; ``""``: what comes before the first one.

    Raises ValueError if there is no such heading.
    """
    parts = re.split(r"^(##+ .*)$", re.sub(r"^```.*?^```", _veiled, text, flags=re.S | re.M), flags=re.M)
    found = {
        heading.removeprefix("## ").strip(): body for heading, body in zip(["", *parts[1::2]], parts[::2], strict=True)
    }
    if title not in found:
        raise ValueError(f"README.md has no heading '## {title}'; it has: {', '.join(filter(None, found))}")
    return found[title].replace("\0", "#").strip()


def _veiled(code: re.Match) -> str:
    """Comments in code must not look like headings."""
    return code[0].replace("#", "\0")


# --- a notebook's page ------------------------------------------------------------------------------------------------
def command(papermill: dict) -> str:
    """The command by which `execute` made a notebook, from what papermill noted in it."""
    parts = [
        f"python -m plasticity.execute {shlex.quote(papermill['input_path'])} {shlex.quote(papermill['output_path'])}"
    ]
    given = [f"-p {name} {shlex.quote(str(value))}" for name, value in papermill.get("parameters", {}).items()]
    return " \\\n    ".join([*parts, " ".join(given)]) if given else parts[0]


def took(seconds: float) -> str:
    """A duration in words, as coarse as a reader wants it."""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def finished(book: NotebookNode) -> bool:
    """Whether a notebook ran to its end, as far as papermill's notes tell."""
    papermill = book.metadata.get("papermill")
    return not papermill or bool(papermill.get("end_time") and not papermill.get("exception"))


def provenance(stem: str, metadata: dict, changed: bool) -> str:
    """The box at the top of a notebook's page: its files, the command that made it, how long that took and when."""
    files = f"{{download}}`{stem}.ipynb <executed/{stem}.ipynb>`: the executed notebook; its source is `notebooks/{stem}.ipynb`."
    papermill = metadata.get("papermill") or {}
    said = ["How it was executed is not noted in it."]
    if papermill.get("input_path") and papermill.get("output_path"):
        versions = (
            f"Python {metadata.get('language_info', {}).get('version', '?')}, papermill {papermill.get('version', '?')}"
        )
        when = datetime.fromisoformat(papermill["end_time"]).astimezone(UTC)
        said = [
            "```bash",
            command(papermill),
            "```",
            f"It took {took(papermill['duration'])} on {when:%Y-%m-%d, %H:%M} UTC, with {versions}.",
        ]
    if changed:
        said.append("The notebook's code in the repository has changed since.")
    return "\n".join([":::{admonition} How this page was made", ":class: made", files, *said, ":::"])


def page(book: NotebookNode, stem: str, changed: bool = False, rewrite: Callable[[str], str] = str) -> NotebookNode:
    """An executed notebook as its page: how it was made under the title, long beginnings folded, outputs as a reader wants them.

    ``rewrite`` sees every Markdown cell; ``changed``: the source is not what was executed. The given notebook stays as it is.
    """
    book, _ = CoalesceStreamsPreprocessor().preprocess(from_dict(book), {})
    book.metadata.pop("widgets", None)
    book.metadata.setdefault("language_info", {"name": "python", "pygments_lexer": "ipython3"})
    heading = stem
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = rewrite(cell.source)
            heading = next(iter(re.findall(r"^#+ +(.*)$", cell.source, re.M)[::-1]), heading)
        elif cell.cell_type == "code":
            _fold(cell)
            cell.metadata["mystnb"] = cell.metadata.get("mystnb", {}) | {
                "image": {"alt": f"Figure of the section: {heading}"}
            }
            cell.outputs = [_readable(output) for output in cell.outputs]
    if not book.cells or book.cells[0].cell_type != "markdown" or not book.cells[0].source.startswith("# "):
        book.cells.insert(0, new_markdown_cell(f"# {stem}", id="title-of-the-page"))
    title, _, rest = book.cells[0].source.partition("\n")
    book.cells[0].source = f"{title}\n\n{provenance(stem, book.metadata, changed)}\n{rest}"
    return book


def _fold(cell: NotebookNode) -> None:
    tags = cell.metadata.get("tags", [])
    kind = "injected" if "injected-parameters" in tags else "parameters" if "parameters" in tags else cell.get("id")
    if kind in PROMPTS:
        cell.metadata["tags"] = [*tags, "hide-input"]
        cell.metadata["mystnb"] = {"code_prompt_show": PROMPTS[kind], "code_prompt_hide": PROMPTS[kind]}


def _readable(output: NotebookNode) -> NotebookNode:
    """Without terminal colours; a widget, which only a running kernel can show, as a remark; "1 +- 2" on one line."""
    if output.output_type == "stream":
        output.text = strip_ansi(output.text)
    elif output.output_type == "error":
        output.traceback = [strip_ansi(line) for line in output.traceback]
    elif WIDGET in output.data:
        output.data = {"text/plain": NO_WIDGET}
    else:
        for kind, change in (("text/plain", strip_ansi), ("text/markdown", _unbroken)):
            if kind in output.data:
                output.data[kind] = change(output.data[kind])
    return output


def _unbroken(text: str) -> str:
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


# --- the other pages --------------------------------------------------------------------------------------------------
def contents(groups: dict[str, list[str]], reference: list[str]) -> str:
    """The chapters, as Sphinx wants them; they make the sidebar, too."""
    parts = [
        [f":caption: {caption}", ":titlesonly:", "", *names]
        for caption, names in (groups | {"Reference": reference}).items()
    ]
    return "\n\n".join("\n".join(["```{toctree}", *lines, "```"]) for lines in parts)


def absent(missing: dict[str, str], partial: list[str]) -> str:
    """The page that names the notebooks without a page, each with the command that makes it; empty if there are none."""
    if not missing and not partial:
        return ""
    lines = ["# Not executed yet", ""]
    if missing:
        lines += [
            "These notebooks have no page here. Each is executed, with what it needs, by the command under it.",
            "",
        ]
    for stem, line in missing.items():
        lines += [f"`notebooks/{stem}.ipynb`", "```bash", line, "```", ""]
    if partial:
        lines += [
            "",
            "These executions did not run to their end and are not shown; the traceback is in the file:",
            "",
            *[f"* `{name}`" for name in partial],
        ]
    return "\n".join(lines) + "\n"


def reference(names: list[str], classes: set[str]) -> str:
    """The page of the public names, from their docstrings."""
    lines = ["# The public names", "", "All of them: `from plasticity import ...`.", "", "```{eval-rst}"]
    for name in names:
        lines += [
            f".. autoclass:: plasticity.{name}\n   :members:\n"
            if name in classes
            else f".. autofunction:: plasticity.{name}\n"
        ]
    return "\n".join([*lines, "```", ""])
