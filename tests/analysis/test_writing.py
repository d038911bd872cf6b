"""A table as files, against their exact text."""

import pandas as pd
import pytest

from plasticity.analysis.writing import LATEX, shown, write

GROUPS = pd.DataFrame({"A": ["x_1", "x_1", "y"], "B & C": ["5 ± 1", "p|q", "a > 3%"]})
GROUPS.attrs = {"bold": [(1, "B & C")], "grouped": True}
GOLDEN = {
    "csv": "A,B & C\nx_1,5 ± 1\nx_1,p|q\ny,a > 3%\n",
    "md": "100% of #1\n\n| A | B & C |\n| --- | --- |\n| x_1 | 5 ± 1 |\n|  | **p\\|q** |\n| y | a > 3% |\n",
    "tex": r"""\begin{table}
\centering
\caption{100\% of \#1}
\label{tab:t}
\begin{tabular}{ll}
\toprule
A & B \& C \\
\midrule
x\_1 & 5 $\pm$ 1 \\
 & \textbf{p|q} \\
\midrule
y & a $>$ 3\% \\
\bottomrule
\end{tabular}
\end{table}
""",
}


def test_written_files_have_this_text_and_nothing_is_left_beside_them(tmp_path):
    paths = write(GROUPS, tmp_path / "new", "t", "100% of #1")
    assert {path.suffix[1:]: path.read_bytes().decode() for path in paths} == GOLDEN
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["t.csv", "t.md", "t.tex"]


def test_latex_escapes_every_special_sign():
    assert r"a\b{c}~^$".translate(LATEX) == (r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}\$")


def test_a_failed_write_keeps_the_old_files_and_leaves_nothing(tmp_path):
    write(GROUPS, tmp_path, "t", "old")
    (tmp_path / "t.csv").unlink()
    (tmp_path / "t.csv" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError):
        write(GROUPS, tmp_path, "t", "new")
    assert (tmp_path / "t.md").read_text(encoding="utf-8").startswith("old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.md", "t.tex"]


def test_numbers_and_names_are_shown_in_words():
    table = pd.DataFrame({"architecture": ["mini_vit"], "case": ["10M"], "p": [0.12345], "n": [3], "best": [True]})
    text = shown(table.assign(gain=float("nan"), share_below=1 / 3), p=3, share_below=2)
    assert list(text) == ["Architecture", "Case", "p", "n", "Best", "Gain", "Share below"]
    assert text.values.tolist() == [["miniature ViT", "10 M", "0.123", "3", "yes", "-", "0.33"]]
