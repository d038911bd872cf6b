"""The notebooks of a profile, README, `docs/` and `reference/` as one static site; nothing is run or fetched.

A notebook that has not been executed shows the committed results in place of its own. Sphinx makes it. The pages keep
their places in the repository, so the links that work there work on the site. ``docs/conf.py`` says the rest.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import nbformat
from PIL import Image

from ..datasets.cores import usable_cores
from ..profiles import get_profile
from . import committed, front, pages

ROOT = Path(__file__).resolve().parents[2]
FRONT, REFERENCES = ROOT / "docs" / "front.md", ROOT / "reference"
NOTEBOOKS = {"The paper": range(40), "Checks and experiments": range(40, 50), "The companion papers": range(50, 60)}
OTHERS = "Other notebooks"
OWN_COMMANDS = {55: "lengths", 56: "rl"}  # notebooks that no other command makes
REFERENCE = ("benchmarks", "gpu", "learning_rates", "audit_power")
CHAPTERS = {
    "Findings": [
        "docs/results",
        "docs/claims",
        "docs/audit",
        "docs/companions",
        "docs/reinforcement-learning",
        "docs/corrections",
    ],
    "Guides": [
        "docs/words",
        "Commands and files <README>",
        "docs/your-own",
        "docs/methods",
        "docs/add-a-method",
        "docs/full-size",
        "docs/many-machines",
        "CONTRIBUTING",
    ],
    "Reference": ["docs/names", "docs/design", "docs/speed", *(f"reference/{name}" for name in REFERENCE)],
}


def build(profile: str, results: Path, out: Path | None = None) -> Path:
    """Make the site of the notebooks in ``results/notebooks``, whole or not at all; return its first page.

    It goes into ``out``, or ``results/site``. Raises ValueError if the profile is unknown, a notebook can't be read or
    was executed with another profile, FileNotFoundError without a checkout, FileExistsError if ``out`` holds something
    else than an earlier site, RuntimeError if Sphinx objects to a page.
    """
    get_profile(profile)
    results = Path(results)
    import_module("myst_nb")  # where it is missing, the error says so at once
    if not (ROOT / "docs" / "conf.py").exists():
        where = f"the site is made from a checkout's README and docs, and {ROOT} is none"
        raise FileNotFoundError(f"{where}: start again in a checkout (make site)")
    out = Path(out or results / "site")
    books, unfinished = executed(results / "notebooks", profile)
    if out.exists() and any(out.iterdir()) and not (out / "searchindex.js").exists():
        raise FileExistsError(f"{out} holds something that is no earlier site; empty it, or choose another with --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary)
        lay_out(folder / "pages", books, unfinished, profile, results)
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
    if chapter in OWN_COMMANDS:
        return f"make {OWN_COMMANDS[chapter]}"
    if profile.startswith("imagenet") and (chapter in (10, 11, 12, 42) or chapter >= 50):
        return f"make {target}"
    if chapter == 13 and not profile.startswith("imagenet"):
        return "make imagenet"
    elsewhere = f" RESULTS={results}" if results != f"results/{profile}" else ""
    return f"make {target} PROFILE={profile}{elsewhere}"


# --- the pages --------------------------------------------------------------------------------------------------------
def lay_out(folder: Path, books: dict, unfinished: list[str], profile: str, results: Path) -> None:
    """Write every page's source into a folder, where the repository has it."""
    for name in ("docs", "reference"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("_*", "conf.py", FRONT.name))
    for name in ("README.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, folder)
    for part in ("notebooks", "executed"):
        (folder / part).mkdir()
    sources = {path.stem: nbformat.read(path, as_version=4) for path in (ROOT / "notebooks").glob("*.ipynb")}
    groups, chapters = grouped({*books, *sources}), {}
    for stem in (stem for stems in groups.values() for stem in stems):
        there, reference = committed.choose(number(stem), references(profile))
        if stem in books:
            nbformat.write(books[stem], folder / "executed" / f"{stem}.ipynb")
            changed = stem in sources and pages.code(sources[stem]) != pages.code(books[stem])
            book, box = books[stem], pages.provenance(stem, books[stem].metadata, changed)
        else:
            line = missing_command(stem, profile, shortened(results.as_posix(), results.resolve(), profile))
            made_by = reference.relative_to(ROOT).as_posix() if there else ""
            box = pages.instead(stem, made_by, line, f"{stem}.partial.ipynb" in unfinished)
            book = committed.filled(sources[stem], there)
        nbformat.write(pages.page(book, stem, box), folder / "notebooks" / f"{stem}.ipynb")
        own = results if stem in books else None
        chapters[stem] = front.chapter(stem, book, number(stem), own, reference)
    listed = {caption: [chapters[stem] for stem in stems] for caption, stems in groups.items()}
    trees = {caption: [f"notebooks/{stem}" for stem in stems] for caption, stems in groups.items()} | CHAPTERS
    first = front.page(FRONT.read_text("utf-8"), listed, profile, unfinished)
    (folder / "index.md").write_text(f"{first}\n{toctrees(trees)}\n", "utf-8")
    for path in [folder / "index.md", folder / "README.md", *(folder / "docs").glob("*.md")]:
        lighten(path)


def references(profile: str) -> list[Path]:
    """The folders of committed results, those of the profile first: ``reference`` is of mini."""
    own = sorted({path.parent for part in committed.FOLDERS for path in REFERENCES.glob(f"*/{part}")})
    return sorted([REFERENCES, *own], key=lambda folder: not profile.startswith(folder.name))


def lighten(path: Path) -> None:
    """Show a page's plots as lossless WebP: a third of their PNG, pixel by pixel the same."""
    text = path.read_text("utf-8")
    for name in re.findall(r"!\[[^\]]*\]\(([^)]*)\.png\)", text):
        with Image.open(path.parent / f"{name}.png") as picture:
            picture.save(path.parent / f"{name}.webp", lossless=True, exact=True)
        text = text.replace(f"]({name}.png)", f"]({name}.webp)")
    path.write_text(text, "utf-8")


def grouped(stems) -> dict[str, list[str]]:
    """The notebooks under the captions of the site, by their numbers; no caption is empty."""
    groups = {caption: [] for caption in [*NOTEBOOKS, OTHERS]}
    for stem in sorted(stems):
        caption = next((name for name, numbers in NOTEBOOKS.items() if number(stem) in numbers), OTHERS)
        groups[caption].append(stem)
    return {caption: stems for caption, stems in groups.items() if stems}


def toctrees(contents: dict[str, list[str]]) -> str:
    """The chapters as Sphinx wants them; they make the sidebar."""
    trees = [
        ["```{toctree}", f":caption: {caption}", ":titlesonly:", ":hidden:", "", *pages, "```"]
        for caption, pages in contents.items()
    ]
    return "\n\n".join("\n".join(lines) for lines in trees)


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
