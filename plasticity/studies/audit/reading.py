"""A table that anybody hands in: rows of a csv file, as spreadsheets, R or pandas write it, or one clear error."""

import csv
import io
import re
from pathlib import Path

COLUMNS = ("group", "dataset", "name", "accuracy", "accuracy_std", "epochs", "epochs_std")
NEEDED = COLUMNS[2:5]
KINDS = {  # how files begin that are no csv files in UTF-8
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"PK\x03\x04": "a workbook or another archive (xlsx, ods, zip)",
    b"\xd0\xcf\x11\xe0": "a workbook (xls)",
    b"\x1f\x8b": "compressed (gz)",
    b"%PDF": "a PDF",
}
SAVE = 'save the table as csv in UTF-8 (in Excel "CSV UTF-8"), and give that file'


def read_table(table: str | Path) -> list[dict[str, str]]:
    """The rows of a csv file, texts by column, the columns' names in small letters; blank rows are left out.

    Commas, semicolons or tabs separate the cells, whichever the first line has most of. Raises OSError for a file that
    can't be read, ValueError that names the file or the row, and what is expected.
    """
    lines = _cells(_text(table), table)
    head = [name.strip().lower() for name in lines[0]] if lines else []
    if len(lines) < 2 or (lacking := [name for name in NEEDED if name not in head]):
        lacks = ", ".join(lacking) if len(lines) > 1 else "rows"
        has = f"; it has: {', '.join(head)}" if head else ""
        raise ValueError(f"the table lacks {lacks}; expected the columns group, {', '.join(COLUMNS[2:])}{has}")
    if twice := [name for name in COLUMNS if head.count(name) > 1]:
        raise ValueError(f"{table} has {head.count(twice[0])} columns called {twice[0]}, expected one")
    return [_row(place, head, cells) for place, cells in enumerate(lines[1:], start=1)]


def _text(table: str | Path) -> str:
    if re.match(r"[a-z]{2,}:/", str(table)):
        raise ValueError(f"{table} is an address: download the table, and give the file")
    content = Path(table).read_bytes()
    if kinds := [kind for start, kind in KINDS.items() if content.startswith(start)]:
        raise ValueError(f"{table} is {kinds[0]}: {SAVE}")
    if b"\0" in content:
        raise ValueError(f"{table} is no text in UTF-8, it holds NUL bytes: {SAVE}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = 1 + content.count(b"\n", 0, error.start), content[error.start]
        what = f"{table}, line {line}: byte 0x{byte:02x} is no UTF-8; Windows-1252 or Latin-1?"
        raise ValueError(f"{what} {SAVE}") from None


def _cells(text: str, table: str | Path) -> list[list[str]]:
    """The cells of all lines that are not blank."""
    first = next(filter(str.strip, text.splitlines()), "")
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        return [cells for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise ValueError(f"{table}, line {reader.line_num}: {error}; is a quotation mark not closed?") from None


def _row(place: int, head: list[str], cells: list[str]) -> dict[str, str]:
    """A row's cells by column, "" for those that it lacks."""
    if more := [cell for cell in cells[len(head) :] if cell.strip()]:
        todo = "decimals have a point, and a name with the separator in it quotation marks"
        raise ValueError(f"row {place} ({cells[0].strip()}) has more cells than the header, {more[0]!r}: {todo}")
    return dict(zip(head, cells + [""] * len(head), strict=False))
