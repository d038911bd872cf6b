"""A notebook as a page of the site: the box that says where it comes from, what is folded, what a reader never sees."""

import re
import shlex
from datetime import UTC, datetime
from html import escape
from itertools import groupby

import nbformat
from nbformat.v4 import new_markdown_cell, new_output

FOLDED = {
    "parameters": "Parameters and their defaults",
    "injected": "Parameters of this run",
    "setup": "Imports and places",
}
LONG_LOG = 8  # lines of output; a longer log is folded
WIDGET = "application/vnd.jupyter.widget-view+json"
TERMS = "[Words](../docs/words.md) has every term, a line each."
NO_WIDGET = "(A live widget: to be seen where the notebook runs.)"


def code(book: nbformat.NotebookNode) -> list[str]:
    """The source of a notebook's code cells, papermill's own left out."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def page(book: nbformat.NotebookNode, stem: str, box: str) -> nbformat.NotebookNode:
    """A copy of a notebook as its page: the box under its title, machinery and long logs folded, no widgets."""
    # no terminal colours
    book = nbformat.reads(re.sub(r"(?<!\\)\\u001b\[[\d;]*m", "", nbformat.writes(book)), as_version=4)
    book.metadata.pop("widgets", None)
    book.metadata.setdefault("language_info", {"name": "python", "pygments_lexer": "ipython3"})
    heading = stem
    for cell in book.cells:
        if cell.cell_type == "markdown":
            heading = next(iter(re.findall(r"^#+ +(.*)$", cell.source, re.M)[::-1]), heading)
        elif cell.cell_type == "code":
            for output in cell.outputs:
                if WIDGET in output.get("data", {}):
                    output.data = {"text/plain": NO_WIDGET}
            cell.metadata["mystnb"] = cell.metadata.get("mystnb", {}) | {
                "image": {"alt": f"Figure of the section: {heading}"}
            }
            fold(cell)
    if not book.cells or book.cells[0].cell_type != "markdown" or not book.cells[0].source.startswith("# "):
        book.cells.insert(0, new_markdown_cell(f"# {stem}", id="title-of-the-page"))
    title, _, rest = book.cells[0].source.partition("\n")
    book.cells[0].source = f"{title}\n\n{box}\n{rest}"
    return book


def fold(cell: nbformat.NotebookNode) -> None:
    """Fold the source of a cell that only sets things up, and a long log, which leaves tables and pictures in sight."""
    tags = cell.metadata.get("tags", [])
    kind = "injected" if "injected-parameters" in tags else "parameters" if "parameters" in tags else cell.get("id")
    if kind in FOLDED:
        cell.metadata["tags"] = [*tags, "hide-input"]
        cell.metadata["mystnb"] |= {"code_prompt_show": FOLDED[kind], "code_prompt_hide": FOLDED[kind]}
    outputs = []
    for is_log, group in groupby(cell.outputs, lambda output: output.output_type == "stream"):
        log = list(group)
        text = "".join(output.text for output in log) if is_log else ""
        outputs += [folded(text)] if text.count("\n") > LONG_LOG else log
    cell.outputs = outputs


def folded(text: str) -> nbformat.NotebookNode:
    """A long log as one line that opens."""
    lines = text.rstrip("\n").count("\n") + 1
    shown = f"<summary>Log of {lines} lines</summary>\n<pre>{escape(text.rstrip())}</pre>"
    return new_output("display_data", {"text/html": f'<details class="log">{shown}</details>'})


def provenance(stem: str, metadata: dict, changed: bool) -> str:
    """The box at the top of a notebook's page: its files, the command that made it, how long that took and when."""
    files = f"{{download}}`{stem}.ipynb <../executed/{stem}.ipynb>`: the executed notebook of `notebooks/{stem}.ipynb`."
    papermill = metadata.get("papermill") or {}
    said = ["How it was executed is not noted in it."]
    if papermill.get("input_path") and papermill.get("output_path"):
        python = metadata.get("language_info", {}).get("version", "?")
        when = datetime.fromisoformat(papermill["end_time"]).astimezone(UTC)
        time = f"It took {duration(papermill['duration'])} on {when:%Y-%m-%d, %H:%M} UTC"
        said = [
            "```bash",
            command(papermill),
            "```",
            f"{time}, with Python {python}, papermill {papermill.get('version', '?')}.",
        ]
    if changed:
        said.append("The notebook's code in the repository has changed since.")
    return "\n".join([":::{admonition} How this page was made", ":class: made", files, *said, TERMS, ":::"])


def instead(stem: str, made_by: str, line: str, partial: bool) -> str:
    """The box at the top of the page of a notebook that was not executed: whose results it shows, and the command."""
    said = [f"`notebooks/{stem}.ipynb` has not been executed for this site; what its cells print is left out."]
    if made_by:
        said = [
            f"`notebooks/{stem}.ipynb` has not been executed for this site. Its pictures, tables and findings are the "
            f"committed ones (`{made_by}`), each under the cell that makes it; what cells print besides is left out."
        ]
    if partial:
        said.append(f"An execution did not run to its end; the traceback is in `{stem}.partial.ipynb`.")
    return "\n".join([":::{admonition} Not executed here", ":class: made", *said, "```bash", line, "```", TERMS, ":::"])


def command(papermill: dict) -> str:
    """The command that made a notebook, from what papermill noted in it."""
    first = f"plasticity execute {shlex.quote(papermill['input_path'])} {shlex.quote(papermill['output_path'])}"
    given = " ".join(f"-p {name} {shlex.quote(str(value))}" for name, value in papermill.get("parameters", {}).items())
    return f"{first} \\\n    {given}" if given else first


def duration(seconds: float) -> str:
    """A duration in words, as coarse as a reader wants it."""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
