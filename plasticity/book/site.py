"""The executed notebooks of a profile, README, `docs/` and `reference/` as one static site; nothing is run or fetched.

Sphinx makes it. The pages keep their places in the repository, so the links that work there work on the site.
``docs/conf.py`` says the rest.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell
from PIL import Image

from ..datasets.cores import usable_cores
from ..profiles import Profile, get_profile

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = {"The paper": range(40), "Checks and experiments": range(40, 50), "The companion papers": range(50, 60)}
OTHERS = "Other notebooks"
REFERENCE = ("benchmarks", "gpu", "learning_rates", "audit_power")
CHAPTERS = {
    "Findings": ["docs/results", "docs/claims", "docs/audit", "docs/companions", "docs/corrections"],
    "Guides": ["docs/your-own", "docs/methods", "docs/full-size", "docs/many-machines", "CONTRIBUTING"],
    "Reference": ["docs/names", "docs/design", "docs/speed", *(f"reference/{name}" for name in REFERENCE)],
}
FOLDED = {
    "parameters": "Parameters and their defaults",
    "injected": "Parameters of this run",
    "setup": "Imports and places",
}
LONG_LOG = 8  # lines of output; a longer log is folded
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_WIDGET = "(A live widget: to be seen where the notebook runs.)"


def build(profile: str, results: Path, out: Path | None = None) -> Path:
    """Make the site of the notebooks in ``results/notebooks``, whole or not at all; return its first page.

    It goes into ``out``, or ``results/site``. Raises ValueError if the profile is unknown, a notebook can't be read or
    was executed with another profile, FileNotFoundError if there is none, FileExistsError if ``out`` holds something
    else than an earlier site, RuntimeError if Sphinx objects to a page.
    """
    about, results = get_profile(profile), Path(results)
    import_module("myst_nb")  # where it is missing, the error says so at once
    if not (ROOT / "docs" / "conf.py").exists():
        where = f"the site is made from a checkout's README and docs, and {ROOT} is none"
        raise FileNotFoundError(f"{where}: start again in a checkout (make site)")
    out = Path(out or results / "site")
    books, unfinished = executed(results / "notebooks", profile)
    if not books:
        command = missing_command("00", profile, results.as_posix())
        raise FileNotFoundError(f"no executed notebooks in {results / 'notebooks'}; `{command}` makes them")
    if out.exists() and any(out.iterdir()) and not (out / "searchindex.js").exists():
        raise FileExistsError(f"{out} holds something that is no earlier site; empty it, or choose another with --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary)
        named = shortened(results.as_posix(), results.resolve(), profile)
        lay_out(folder / "pages", books, unfinished, about, named)
        sphinx(folder, f"plasticity, profile {profile}")
        if out.exists():
            out.rename(folder / "old")
        (folder / "site").rename(out)
    return out / "index.html"


# --- the executed notebooks -------------------------------------------------------------------------------------------
def executed(folder: Path, profile: str) -> tuple[dict[str, nbformat.NotebookNode], list[str]]:
    """The notebooks that ran to their end, by name, and the files of those that did not."""
    books, unfinished = {}, []
    for path in sorted(folder.glob("[!.]*.ipynb")):
        book = None if ".partial." in path.name else read(path, profile)
        papermill = book and book.metadata.get("papermill")
        if book is None or papermill and (not papermill.get("end_time") or papermill.get("exception")):
            unfinished.append(path.name)
        else:
            books[path.stem] = book
    return books, unfinished


def read(path: Path, profile: str) -> nbformat.NotebookNode:
    """An executed notebook without this machine's folders. Raises ValueError if it is none, or of another profile."""
    try:
        book = nbformat.reads(shortened(path.read_text("utf-8"), path.resolve().parents[1], profile), as_version=4)
        nbformat.validate(book)
    except (ValueError, AttributeError, TypeError, nbformat.ValidationError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a readable notebook ({reason}); remove it and make it again") from None
    given = book.metadata.get("papermill", {}).get("parameters", {}).get("profile", profile)
    if given != profile:
        raise ValueError(f"{path} was executed with profile {given!r}, this is the site of {profile!r}")
    return book


def shortened(text: str, results: Path, profile: str) -> str:
    """A text without this machine's folders: results lie in ``results/<profile>``, all else begins at the root."""
    roots = {results.parents[1]} if results.parts[-2:] == ("results", profile) else set()
    names = {str(results): f"results/{profile}"} | {f"{root}/": "" for root in {ROOT, Path.cwd(), *roots}}
    text = re.sub(r"/tmp/ipykernel_\d+/\d+\.py", "the cell", text)
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w.])({known})", lambda found: names[found[1]], text)


def number(stem: str) -> int:
    """The number that a notebook's name begins with, or -1."""
    found = re.match(r"\d+(?=_|$)", stem)
    return int(found[0]) if found else -1


def missing_command(stem: str, profile: str, results: str) -> str:
    """The command that executes a notebook, in another profile where this one lacks its network or study."""
    chapter = number(stem)
    target = "companions" if chapter >= 50 else "checks" if chapter >= 40 else "reproduce"
    if profile.startswith("imagenet") and (chapter in (10, 11, 12, 42) or chapter >= 50):
        return f"make {target}"
    if chapter == 13 and not profile.startswith("imagenet"):
        return "make imagenet"
    elsewhere = f" RESULTS={results}" if results != f"results/{profile}" else ""
    return f"make {target} PROFILE={profile}{elsewhere}"


# --- the pages --------------------------------------------------------------------------------------------------------
def lay_out(folder: Path, books: dict, unfinished: list[str], profile: Profile, results: str) -> None:
    """Write every page's source into a folder, where the repository has it."""
    sources = {path.stem: path for path in (ROOT / "notebooks").glob("*.ipynb")}
    for name in ("docs", "reference"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("_*", "conf.py"))
    shutil.copy(ROOT / "CONTRIBUTING.md", folder)
    for part in ("notebooks", "executed"):
        (folder / part).mkdir()
    for stem, book in books.items():
        nbformat.write(book, folder / "executed" / f"{stem}.ipynb")
        changed = stem in sources and code(nbformat.read(sources[stem], as_version=4)) != code(book)
        nbformat.write(page(book, stem, changed), folder / "notebooks" / f"{stem}.ipynb")
    missing = {stem: missing_command(stem, profile.name, results) for stem in sorted(sources.keys() - books.keys())}
    contents = grouped(books) | CHAPTERS
    if missing or unfinished:
        (folder / "absent.md").write_text(absent(missing, unfinished), "utf-8")
        contents["Reference"] = [*contents["Reference"], "absent"]
    readme = (ROOT / "README.md").read_text("utf-8")
    (folder / "index.md").write_text(f"{readme}\n{toctrees(contents)}\n", "utf-8")
    for path in [folder / "index.md", *(folder / "docs").glob("*.md")]:
        lighten(path)


def lighten(path: Path) -> None:
    """Show a page's plots as lossless WebP: a third of their PNG, pixel by pixel the same."""
    text = path.read_text("utf-8")
    for name in re.findall(r"!\[[^\]]*\]\(([^)]*)\.png\)", text):
        with Image.open(path.parent / f"{name}.png") as picture:
            picture.save(path.parent / f"{name}.webp", lossless=True, exact=True)
        text = text.replace(f"]({name}.png)", f"]({name}.webp)")
    path.write_text(text, "utf-8")


def grouped(stems) -> dict[str, list[str]]:
    """The notebooks' pages under the captions of the site, by their numbers; no caption is empty."""
    groups = {caption: [] for caption in [*NOTEBOOKS, OTHERS]}
    for stem in sorted(stems):
        caption = next((name for name, numbers in NOTEBOOKS.items() if number(stem) in numbers), OTHERS)
        groups[caption].append(f"notebooks/{stem}")
    return {caption: pages for caption, pages in groups.items() if pages}


def toctrees(contents: dict[str, list[str]]) -> str:
    """The chapters as Sphinx wants them; they make the sidebar."""
    trees = [
        ["```{toctree}", f":caption: {caption}", ":titlesonly:", ":hidden:", "", *pages, "```"]
        for caption, pages in contents.items()
    ]
    return "\n\n".join("\n".join(lines) for lines in trees)


def absent(missing: dict[str, str], unfinished: list[str]) -> str:
    """The page that names the notebooks without a page, each with the command that makes it."""
    parts = ["# Not executed yet"]
    if missing:
        parts.append("These notebooks have no page here. The command under each executes it, with what it needs.")
    parts += [f"`notebooks/{stem}.ipynb`\n```bash\n{command}\n```" for stem, command in missing.items()]
    if unfinished:
        parts.append("These executions did not run to their end and are not shown; the traceback is in the file:")
        parts.append("\n".join(f"* `{name}`" for name in unfinished))
    return "\n\n".join(parts) + "\n"


def code(book: nbformat.NotebookNode) -> list[str]:
    """The source of a notebook's code cells, papermill's own left out."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def page(book: nbformat.NotebookNode, stem: str, changed: bool = False) -> nbformat.NotebookNode:
    """A copy of an executed notebook as its page: a box under the title, machinery and long logs folded, no widgets.

    ``changed``: the source is not what was executed.
    """
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
    book.cells[0].source = f"{title}\n\n{provenance(stem, book.metadata, changed)}\n{rest}"
    return book


def fold(cell: nbformat.NotebookNode) -> None:
    """Fold the source of a cell that only sets things up, and what a cell prints if it is long."""
    tags = cell.metadata.get("tags", [])
    kind = "injected" if "injected-parameters" in tags else "parameters" if "parameters" in tags else cell.get("id")
    printed = sum(output.get("text", "").count("\n") for output in cell.outputs)
    tag, prompt = ("hide-input", FOLDED[kind]) if kind in FOLDED else ("hide-output", f"Log of {printed} lines")
    if kind in FOLDED or printed > LONG_LOG:
        cell.metadata["tags"] = [*tags, tag]
        cell.metadata["mystnb"] |= {"code_prompt_show": prompt, "code_prompt_hide": prompt}


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
    return "\n".join([":::{admonition} How this page was made", ":class: made", files, *said, ":::"])


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


def sphinx(folder: Path, title: str) -> None:
    """Run Sphinx on ``folder/pages`` into ``folder/site``. Raises RuntimeError with its warnings, which are errors."""
    options = ["-q", "-W", "--keep-going", "-j", str(usable_cores()), "-b", "html", "-D", f"html_title={title}"]
    places = ["-c", ROOT / "docs", "-d", folder / "doctrees", folder / "pages", folder / "site"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    line = [sys.executable, "-m", "sphinx", *options, *map(str, places)]
    done = subprocess.run(
        line,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = done.stderr.replace(f"{folder}/pages/", "")[-4000:].strip()
        raise RuntimeError(f"Sphinx does not accept the pages:\n{said}")
