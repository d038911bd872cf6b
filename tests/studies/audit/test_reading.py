"""Tables as people have them: read as they are meant, or refused with the file or the row, and what to do."""

import gzip
import io
import zipfile

import pytest

from plasticity.__main__ import main
from plasticity.studies.audit.rows import audit_rows, report

PLAIN = "group,name,accuracy,accuracy_std,epochs,epochs_std\n"
PLAIN += "DTD,5MN,59.220,0.251,80.1,6.2\nDTD,base,57.926,1.463,89.4,5.9\n"


def swapped(*pairs):
    text = PLAIN
    for old, new in pairs:
        text = text.replace(old, new)
    return text


SAME = {
    "as it is": PLAIN,
    "with a mark": "\ufeff" + PLAIN,
    "semicolons": swapped((",", ";")),
    "tabs": swapped((",", "\t")),
    "line ends of Windows": swapped(("\n", "\r\n")),
    "line ends of an old Mac": swapped(("\n", "\r")),
    "quoted": swapped(("5MN", '"5MN"'), ("59.220", '"59.220"')),
    "blank rows and columns": "\n" + swapped(("epochs_std\n", "epochs_std,,\n"), ("6.2\n", "6.2,,\n,,,,,\n \n")),
    "other letters": swapped(("accuracy_std", " Accuracy_STD "), ("group", "Group")),
    "other columns": swapped(("group", ",group"), ("\nDTD", "\n0,DTD")),
    "other order": "epochs,epochs_std,accuracy,accuracy_std,name,dataset\n80.1,6.2,59.220,0.251,5MN,DTD\n"
    "89.4,5.9,57.926,1.463,base,DTD\n",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_the_same_table_in_other_dress(text, tmp_path):
    (tmp_path / "t.csv").write_text(PLAIN, "utf-8")
    (tmp_path / "odd.csv").write_bytes(text.encode())
    assert audit_rows(tmp_path / "odd.csv") == audit_rows(tmp_path / "t.csv")


def test_a_separator_of_lines_within_a_name_ends_no_row(tmp_path):
    (tmp_path / "t.csv").write_text(swapped(("5MN", '"5,\u2028\x0c\nMN"')), "utf-8")
    assert [line.name for line in audit_rows(tmp_path / "t.csv")] == ["5,\u2028\x0c\nMN", "base"]


def workbook():
    with zipfile.ZipFile(file := io.BytesIO(), "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    return file.getvalue()


SAVE = 'save the table as csv in UTF-8 (in Excel "CSV UTF-8"), and give that file'
REFUSED = {
    "a long cell": (swapped(("5MN", "x" * 200_000)), "line 2: field larger than field limit (131072); is a quot"),
    "an open quotation mark": (swapped(("5MN", '"5MN')), "t.csv, line 3: unexpected end of data; is a quotation mark"),
    "UTF-16": (PLAIN.encode("utf-16"), f"t.csv is text in UTF-16: {SAVE}"),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), f"t.csv is no text in UTF-8, it holds NUL bytes: {SAVE}"),
    "cp1252": (
        swapped(("base", "60.0 ± 0.3")).encode("cp1252"),
        f"t.csv, line 3: byte 0xb1 is no UTF-8; Windows-1252 or Latin-1? {SAVE}",
    ),
    "a NUL": (swapped(("5MN", "5\0MN")), "t.csv is no text in UTF-8, it holds NUL bytes"),
    "xlsx": (workbook(), f"t.csv is a workbook or another archive (xlsx, ods, zip): {SAVE}"),
    "gz": (gzip.compress(PLAIN.encode()), f"t.csv is compressed (gz): {SAVE}"),
    "empty": ("", "the table lacks rows; expected the columns group, name, accuracy, accuracy_std, epochs, epochs_std"),
    "blank": (" \n\t\n", "the table lacks rows"),
    "a header alone": (PLAIN[: PLAIN.index("\n")], "the table lacks rows; expected the columns group, name, accuracy"),
    "a column missing": (swapped(("accuracy_std", "std")), "the table lacks accuracy_std; expected the columns group"),
    "another separator": (swapped((",", "|")), "it has: group|name|accuracy|accuracy_std|epochs|epochs_std"),
    "a column twice": (swapped(("epochs_std", "epochs")), "t.csv has 2 columns called epochs, expected one"),
    "a long row": (swapped(("5MN", "5MN, ours")), "row 1 (DTD) has more cells than the header, '6.2': decimals have a"),
    "a short row": (swapped((",1.463,89.4,5.9", "")), "row 2 (base), accuracy_std: '' is no number"),
    "decimal commas": (
        swapped((",", ";"), (".", ",")),
        "row 1 (5MN), accuracy: '59,220' is no number; expected digits",
    ),
    "and commas between": (swapped((".", ",")), "row 1 (DTD) has more cells than the header, '80': decimals have a"),
    "percent": (swapped(("59.220", "59.220%")), "row 1 (5MN), accuracy: '59.220%' is no number; expected digits"),
    "±": (swapped(("59.220", "59.220 ± 0.251")), "row 1 (5MN), accuracy: '59.220 ± 0.251' is no number"),
    "thousands": (swapped(("80.1", '"1,080.1"')), "row 1 (5MN), epochs: '1,080.1' is no number"),
    "a power of ten": (swapped(("80.1", "8e1")), "row 1 (5MN), epochs: '8e1' is no number"),
    "no number at all": (swapped(("80.1", "NaN")), "row 1 (5MN), epochs: 'NaN' is no number"),
    "too long a number": (swapped(("80.1", "8" * 9999)), f"row 1 (5MN), epochs: '{'8' * 40}' is no number"),
    "shares": (swapped(("59.220", "0.59220"), ("57.926", "0.57926")), "the best accuracy is 0.59220 (5MN), with whole"),
    "above all": (swapped(("59.220", "592.20")), "the best accuracy is 592.20 (5MN), with whole 100; expected whole 1"),
}


@pytest.mark.parametrize("content, said", REFUSED.values(), ids=REFUSED)
def test_an_odd_table_is_one_clear_error(content, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["audit", "t.csv"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err and out == ""


@pytest.mark.parametrize(
    "arguments, said",
    [
        (
            ["https://example.org/t.csv"],
            "https://example.org/t.csv is an address: download the table, and give the file",
        ),
        (["."], "Is a directory"),
        (["nowhere.csv"], "No such file"),
        (["t.csv", "--runs", "5", "2"], "--runs 5 2: expected two numbers from 2 to 100, the smaller first"),
        (["t.csv", "--runs", "0", "5"], "--runs 0 5: expected"),
        (["t.csv", "--sizes", "0", "20"], "--sizes 0 20: expected two numbers from 1 to 1,000,000"),
        (["t.csv", "--sizes", "1", "1000000000000"], "--sizes 1 1000000000000: expected"),
        (["t.csv", "--missing", "-1"], "--missing -1: expected a number from 0 to 11"),
        (["t.csv", "--whole", "1"], "the best accuracy is 59.220 (5MN), with whole 1; expected"),
    ],
)
def test_odd_arguments_are_one_clear_error(arguments, said, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(PLAIN)
    assert main(["audit", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err


def test_columns_that_are_not_used_are_said(tmp_path):
    (tmp_path / "t.csv").write_text(swapped(("epochs,epochs_std", "epoch,epoch_std")))
    assert report(tmp_path / "t.csv", sizes=range(1128, 1129))[0] == "columns that are not used: epoch, epoch_std"
