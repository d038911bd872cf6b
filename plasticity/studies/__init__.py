"""One folder for each group of notebooks; ``all`` gives the runs of any profile. A study may import ``analysis``, and
the published numbers of ``main_paper``; studies never import each other."""
