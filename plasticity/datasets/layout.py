"""What lies in a folder of images that somebody brings: its classes, its split, and what is left out, by reason.

Nothing vanishes in silence: whatever is not used is counted under a reason, and a layout that may mean two things is
refused with what to do.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .archives import few, left_by_programs
from .decode import SUFFIXES

READ = SUFFIXES | {".jfif", ".jpe", ".pjpeg", ".pjp", ".apng", ".dib", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm"}
# Pictures, but in formats that Pillow does not read: a class that holds nothing else is refused, never dropped.
FOREIGN = frozenset(
    """.heic .heif .hif .jxl .jxr .svg .psd .eps .dcm .dicom .nii .mha .npy .npz .mat .exr .hdr .tga .ico .pdf
    .raw .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .mp4 .mov .avi .mkv""".split()
)
KINDS = {
    "train": ("train", "training", "trn", "trainval"),
    "val": ("val", "valid", "validation", "validate", "dev", "eval", "evaluation", "holdout"),
    "test": ("test", "tests", "testing", "tst"),
}
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
FILLER = {"set", "data", "dataset", "image", "images", "img", "imgs", "photos", "pictures", "split", "seg", "copy"}
PICTURES, BESIDE = {"image", "images", "img", "imgs"}, {"mask", "masks", "label", "labels", "annotation", "annotations"}
RENAME = "rename what is a class after all"


@dataclass
class Folder:
    """Images and folders directly inside; folders in which no image lies, at any depth, are not among them."""

    path: Path
    images: list[Path] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)  # pictures in formats that can't be read
    folders: dict[str, "Folder"] = field(default_factory=dict)

    def inner(self) -> Iterator["Folder"]:
        """This folder and those in it, at any depth."""
        yield self
        for folder in self.folders.values():
            yield from folder.inner()

    def files(self) -> list[Path]:
        """The images in it, at any depth."""
        return [file for folder in self.inner() for file in folder.images]


@dataclass
class Layout:
    """Folders of class folders by part ("" where there is no split), the part held out, and what is not used."""

    parts: dict[str, Folder]
    held_out: str | None
    left_out: dict[str, list[str]]  # by reason, relative to the folder

    def unused(self) -> str:
        """What is left out, in a sentence or in none: each reason, the number, and the first."""
        reasons = (
            f"{why}: {len(paths)} ({'the first: ' * (len(paths) > 1)}{paths[0]})"
            for why, paths in self.left_out.items()
        )
        return f"Left out: {'; '.join(reasons)}." if self.left_out else ""


def read(root: Path) -> Layout:
    """The classes of a folder, or those of its parts (train, val, test in any usual spelling). Folders that merely wrap
    those are looked through; copies of the whole, and what programs leave behind, are left out.

    Raises ValueError, naming the folder and what to do, for what can't be opened and for what may mean two things.
    """
    whole, left_out, closed = Folder(root), {}, []
    _fill(whole, left_out, closed, (os.path.realpath(root),))
    if closed:
        first = f"{shown(closed[0].filename)}: {closed[0].strerror}"
        number = f"{len(closed)} files or folders in {shown(root)} can't be opened (first: {first})"
        raise ValueError(f"{number}; allow yourself to read them, or move them out of it")
    base = _opened(whole, left_out)
    kinds = split_of(base)
    parts = {kind: _opened(base.folders[name], left_out) for name, kind in kinds.items()} or {"": base}
    for folder in parts.values():
        _check_classes(folder, bool(kinds))
    used = {file for part in parts.values() for inner in part.folders.values() for file in inner.files()}
    if outside := [file for file in whole.files() if file not in used]:
        left_out["images outside class folders"] = outside
    unused = {why: [shown(path.relative_to(root)) for path in paths] for why, paths in sorted(left_out.items())}
    return Layout(parts, ("test" if "test" in parts else "val") if kinds else None, unused)


def shown(path: str | Path) -> str:
    """A name that any screen, font and file takes: bytes that are not UTF-8, and control characters, are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# --- what is there ----------------------------------------------------------------------------------------------------
def _fill(folder: Folder, left_out: dict, closed: list[OSError], above: tuple[str, ...]) -> None:
    """Read a folder from the disk; ``above``: the real paths of it and of those around it."""
    try:
        paths = [folder.path / name for name in sorted(os.listdir(folder.path))]
    except OSError as error:
        closed.append(error)
        return
    for path in paths:
        if reason := _placed(path, folder, left_out, closed, above):
            left_out.setdefault(reason, []).append(path)


def _placed(path: Path, folder: Folder, left_out: dict, closed: list[OSError], above: tuple[str, ...]) -> str:
    """Put a path where it belongs in its folder, or say why it is left out."""
    if left_by_programs(path.name):
        return "hidden or left by programs"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if os.path.islink(path) and not isinstance(error, PermissionError):
            return "broken links"
        closed.append(error)
        return ""
    if stat.S_ISDIR(mode):
        return _entered(path, folder, left_out, closed, above)
    suffix = path.suffix.lower()
    if not stat.S_ISREG(mode):
        return "neither files nor folders"
    if suffix in READ:
        folder.images.append(path)
        return ""
    if suffix in FOREIGN:
        folder.foreign.append(path)
        return f"{suffix} files, which are not read (convert them)"
    return f"{shown(suffix)} files" if suffix else "files without a suffix"


def _entered(path: Path, folder: Folder, left_out: dict, closed: list[OSError], above: tuple[str, ...]) -> str:
    real, inner = os.path.realpath(path), Folder(path)
    if real in above:
        return "links back to a folder around them"
    _fill(inner, left_out, closed, (*above, real))
    if any(each.images or each.foreign for each in inner.inner()):
        folder.folders[path.name] = inner
        return ""
    reason = "folders without images"
    left_out[reason] = [each for each in left_out.get(reason, []) if path not in each.parents]  # the outermost alone
    return reason


# --- what it means ----------------------------------------------------------------------------------------------------
def kinds_of(names: Iterable[str]) -> dict[str, str]:
    """Which names are parts of a split, ignoring case and filling words: name -> "train", "val", "test" or "fold".

    "Training_Set" is one; "cars_train" and "trainA" are beside "cars_test" and "testA" alone; "train_station" is none.
    """
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = [word for each in re.findall(r"[^\W\d_]+", name.casefold()) for word in _parted(each)]
        kinds = [KIND_OF[word] for word in words if word in KIND_OF]
        if re.fullmatch(r"(fold|split|cv)[\W_]*\d+", name.casefold()):
            found.setdefault((), {})[name] = "fold"
        elif len(kinds) == 1:
            rest = tuple(word for word in words if word not in FILLER and word not in KIND_OF)
            found.setdefault(rest, {})[name] = kinds[0]
    sure = [kinds for rest, kinds in found.items() if not rest or len(set(kinds.values())) > 1]
    return {name: kind for kinds in sure for name, kind in kinds.items()}


def _parted(word: str) -> list[str]:
    """Two words for a word that begins as a part is called: "train" and "set" for "trainset"."""
    begins = re.match("|".join(sorted(KIND_OF, key=len, reverse=True)), word)
    return [begins[0], word[begins.end() :]] if begins and word not in KIND_OF else [word]


def split_of(base: Folder) -> dict[str, str]:
    """The kind of each part, by folder name; none where the folders are classes. Raises ValueError for half a split."""
    kinds = kinds_of(base.folders)
    others = [name for name in base.folders if name not in kinds]
    if len(kinds) == 1:
        name, kind = next(iter(kinds.items()))
        if not others or (kind in ("train", "fold") and base.folders[name].images):  # trains may be a class
            return {}
    problem = ""
    if kinds and others:
        problem = f"{_some(others)} beside it hold images, too: move them away"
    elif len(set(kinds.values())) < len(kinds):
        problem = "two of these are the same part: give one train folder and one test folder"
    elif kinds and "train" not in kinds.values():
        problem = "there is no train folder: add it, or give a folder without a split"
    elif flat := [name for name in kinds if not base.folders[name].folders]:
        problem = f"no class folders are in {_some(flat)}: sort the images into such, or move it away"
    if problem:
        raise ValueError(f"{shown(base.path)} looks split ({_some(kinds)}), but {problem}; {RENAME}")
    return kinds


def _some(names: Iterable[str]) -> str:
    return few(shown(name) for name in names)


def _opened(folder: Folder, left_out: dict) -> Folder:
    """The folder itself, or the one that it merely wraps, without copies of the whole inside."""
    folder = _unwrapped(folder)
    for name, child in list(folder.folders.items()):
        inner = _unwrapped(child)
        beside = [other for other in folder.folders.values() if other is not child]
        if len(beside) < 2 or {each.path.name for each in beside} != set(inner.folders):
            continue
        if _sizes(folder.path, beside) != _sizes(inner.path, inner.folders.values()):
            where = f"{shown(inner.path)} holds folders of the same names as those beside {shown(child.path)}"
            raise ValueError(f"{where} ({_some(inner.folders)}), but other images; give one of the two")
        left_out.setdefault("a second copy of everything", []).append(folder.folders.pop(name).path)
    return folder


def _unwrapped(folder: Folder) -> Folder:
    inner = folder
    while len(inner.folders) == 1 and (inner is folder or not inner.images):
        (inner,) = inner.folders.values()
    return inner if len(inner.folders) > 1 and not inner.images else folder


def _sizes(top: Path, folders: Iterable[Folder]) -> dict[Path, int]:
    return {file.relative_to(top): file.stat().st_size for folder in folders for file in folder.files()}


def _check_classes(base: Folder, split: bool) -> None:
    """Raises ValueError for what looks like a split inside a class or a part, for masks beside images, and where the
    classes may as well be the folders inside the class folders."""
    for folder in base.inner():
        names = {name.casefold() for name in folder.folders}
        if names & PICTURES and names & BESIDE:
            both = f"{shown(folder.path)} holds images beside {_some(sorted(names & BESIDE))}"
            raise ValueError(f"{both}, which would be learned, too; move them away")
        if (kinds := kinds_of(folder.folders)) and (split or folder is not base):
            inside = f"{shown(folder.path)} looks like a split inside a class folder or part ({_some(kinds)})"
            raise ValueError(f"{inside}; make it train/<class> and test/<class>, or {RENAME}")
    classes = list(base.folders.values())
    common = set.intersection(*({*each.folders} for each in classes)) if classes else set()
    if len(classes) > 1 and len(common) > 1 and not any(each.images for each in classes):
        same = f"{shown(base.path)}: {_some(base.folders)} all hold the same folders ({_some(sorted(common))})"
        ways = f"give {shown(classes[0].path)} alone if those are the classes; else put the images straight into"
        raise ValueError(f"{same}, and either may be the classes; {ways} {_some(base.folders)}")
