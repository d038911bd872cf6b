"""The main paper: its published numbers, its claims tested on our runs, and what selecting the best row does (notebooks
10 to 30 and 41). Begin with ``claims``."""
