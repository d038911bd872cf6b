"""The executed notebooks of a profile, README and the reference pages as one static site, by Sphinx; nothing is run or fetched.

python -m plasticity.book mini --results results/mini
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import nbformat
from PIL import Image

from ..profiles import Profile, get_profile
from . import pages

ROOT = Path(__file__).resolve().parents[2]
RESULTS = "What came out"  # the section of README.md that the first page shows
REFERENCE = {
    "README.md": "readme.md",
    "reference/benchmarks.md": "benchmarks.md",
    "reference/learning_rates.md": "learning_rates.md",
}
FIRST = ("reinitialize", "Case", "Run", "fit")


def build(executed: Path, out: Path, profile: str) -> Path:
    """Make the site of the notebooks in ``executed``, whole or not at all; an earlier site in ``out`` goes. Returns its first page.

    Raises ValueError if the profile is unknown, a notebook can't be read or was executed with another profile, FileNotFoundError if
    there is none, FileExistsError if ``out`` holds something else, RuntimeError if Sphinx objects to a page.
    """
    about, executed, out = get_profile(profile), Path(executed), Path(out)
    found = {
        path: ".partial." not in path.name and read(path, profile) for path in sorted(executed.glob("[!.]*.ipynb"))
    }
    books = {path.stem: book for path, book in found.items() if book and pages.finished(book)}
    unfinished = [path.name for path in found if path.stem not in books]
    if not books:
        results = "" if executed == Path("results", profile, "notebooks") else f" RESULTS={executed.parent}"
        raise FileNotFoundError(
            f"no executed notebooks in {executed}; `make reproduce PROFILE={profile}{results}` makes them"
        )
    if out.exists() and any(out.iterdir()) and not (out / "searchindex.js").exists():
        raise FileExistsError(
            f"{out} holds something that is no earlier site; choose another folder with --out, or empty it"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary)
        results = shortened(executed.parent.as_posix(), executed.parent.resolve(), profile)
        lay_out(folder / "pages", books, unfinished, about, results)
        sphinx(folder, f"plasticity, profile {profile}")
        if out.exists():
            out.rename(folder / "old")
        (folder / "site").rename(out)
    return out / "index.html"


def read(path: Path, profile: str) -> nbformat.NotebookNode:
    """An executed notebook, with this machine's folders shortened. Raises ValueError if it is none, or of another profile."""
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
    """A text without this machine's folders: the results become ``results/<profile>``, what lies in the project begins at its root."""
    roots = {results.parents[1]} if results.parts[-2:] == ("results", profile) else set()
    names = {str(results): f"results/{profile}"} | {f"{root}/": "" for root in {ROOT, Path.cwd(), *roots}}
    text = re.sub(r"/tmp/ipykernel_\d+/\d+\.py", "the cell", text)
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w.])({known})", lambda found: names[found[1]], text)


def lay_out(
    folder: Path, books: dict[str, nbformat.NotebookNode], unfinished: list[str], profile: Profile, results: str
) -> None:
    """Write every page's source into a folder."""
    sources = {path.stem: path for path in (ROOT / "notebooks").glob("*.ipynb")}
    known = REFERENCE | {f"notebooks/{stem}.ipynb": f"{stem}.ipynb" for stem in books}
    url = repository()
    (folder / "executed").mkdir(parents=True)
    for stem, book in books.items():
        nbformat.write(book, folder / "executed" / f"{stem}.ipynb")
        changed = stem in sources and code(nbformat.read(sources[stem], as_version=4)) != code(book)
        shown = pages.page(book, stem, changed, lambda text: pages.linked(text, known, "notebooks", url))
        nbformat.write(shown, folder / f"{stem}.ipynb")
    missing = {stem: pages.making(stem, profile.name, results) for stem in sorted(sources.keys() - books.keys())}
    texts = {
        page: pages.linked((ROOT / name).read_text("utf-8"), known, Path(name).parent.as_posix(), url)
        for name, page in REFERENCE.items()
    }
    texts |= {"names.md": names(), "absent.md": pages.absent(missing, unfinished)}
    texts["index.md"] = first_page(texts["readme.md"], list(books), len(missing), bool(texts["absent.md"]), profile)
    texts["readme.md"] = re.sub(r"\A# .*", "# README", texts["readme.md"])  # its own title is the first page's
    for name, text in texts.items():
        write(text, folder, name)


def first_page(readme: str, stems: list[str], missing: int, absent: bool, profile: Profile) -> str:
    """README's opening and results, with the chapters between them."""
    reference = ["absent"] * absent + ["readme", "names", "benchmarks", "learning_rates"]
    made = f"{len(stems)} notebooks, executed with profile `{profile.name}`: {profile.title}. Each names the command that made it."
    yet = f" [{missing} more](absent.md) {'is' if missing == 1 else 'are'} not executed yet." if missing else ""
    parts = [
        pages.section(readme, ""),
        "## Chapters",
        made + yet,
        pages.contents(pages.grouped(stems), reference),
        f"## {RESULTS}",
        pages.section(readme, RESULTS),
    ]
    return "\n\n".join(parts)


def write(text: str, folder: Path, name: str) -> None:
    """A page's source and the pictures that it shows; no page if it says nothing."""
    for picture in set(pages.pictures(text)):
        text = text.replace(
            f"]({picture})", f"]({lighter(ROOT / picture, folder / picture).relative_to(folder).as_posix()})"
        )
    if text:
        (folder / name).write_text(text, "utf-8")


def lighter(picture: Path, target: Path) -> Path:
    """A picture as lossless WebP, a third of a plot's PNG, pixel by pixel the same. Raises FileNotFoundError if there is none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if picture.suffix != ".png":
        return Path(shutil.copy(picture, target))
    with Image.open(picture) as image:
        image.save(target.with_suffix(".webp"), lossless=True, exact=True)
    return target.with_suffix(".webp")


def code(book: nbformat.NotebookNode) -> list[str]:
    """The source of a notebook's code cells, papermill's own left out."""
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]


def names() -> str:
    """The page of the public names; those that a reader meets first come first."""
    import plasticity

    order = sorted(plasticity.__all__, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    return pages.reference(order, {name for name in order if isinstance(getattr(plasticity, name), type)})


def repository() -> str:
    """The address of the repository, if CITATION.cff or pyproject.toml names one."""
    cited = re.search(r"^repository(?:-code)?:\s*[\"']?([^\s\"']+)", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("urls", {})
    return (
        cited[1]
        if cited
        else next((urls[name] for name in urls if name.lower() in ("repository", "source", "code")), "")
    )


def sphinx(folder: Path, title: str) -> None:
    """Run Sphinx on ``folder/pages`` into ``folder/site``; a warning is an error. Raises RuntimeError with what it said."""
    options = [
        "-q",
        "-W",
        "--keep-going",
        "-j",
        "auto",
        "-b",
        "html",
        "-c",
        str(ROOT / "docs"),
        "-D",
        f"html_title={title}",
    ]
    places = ["-d", str(folder / "doctrees"), str(folder / "pages"), str(folder / "site")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "sphinx", *options, *places]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            "Sphinx does not accept the pages:\n" + done.stderr.replace(f"{folder}/pages/", "")[-4000:].strip()
        )


def main(arguments: list[str] | None = None) -> int:
    """The command line. Exit 0: done; 2: a wrong argument or notebook; 1: the site could not be built or written."""
    parser = argparse.ArgumentParser(prog="python -m plasticity.book", description=__doc__.splitlines()[0])
    parser.add_argument("profile")
    parser.add_argument("--results", default="", help="results/<profile> unless said")
    parser.add_argument("--out", default="", help="<results>/site unless said")
    options = parser.parse_args(arguments)
    results = Path(options.results or f"results/{options.profile}")
    try:
        print(f"wrote {build(results / 'notebooks', Path(options.out or results / 'site'), options.profile)}")
        return 0
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        code, said = 2, error
    except (OSError, RuntimeError) as error:
        code, said = 1, error
    print(f"error: {said}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
