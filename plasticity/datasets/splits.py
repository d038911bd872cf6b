"""Which items of a data set are test items, where nobody says so: drawn once, with a seed that the manifest records."""

from collections.abc import Sequence

import numpy as np

from . import duplicates

SEED = 0
TEST_SHARE = 0.2


def stratified(labels: np.ndarray, seed: int = SEED, share: float = TEST_SHARE) -> np.ndarray:
    """True for test items, bool [n]: round(share x n) of each class but at least 1, drawn at random."""
    rng, test = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        items = np.flatnonzero(labels == label)
        test[rng.permutation(items)[: max(1, round(share * len(items)))]] = True
    return test


def grouped(
    labels: np.ndarray, groups: np.ndarray, names: Sequence[str] = (), remedy: str = "add others"
) -> np.ndarray:
    """The same with every group (int [n]) whole on one side.

    Groups come to the test side in random order as long as no class gets more than `stratified` would give it; so a
    group too large for that is never in the test side, and a class may get fewer. (scikit-learn's StratifiedGroupKFold
    may give the test fold the largest group.) Raises ValueError, naming the class (one of ``names``)
    and the ``remedy``, if a class gets no test item.
    """
    target, taken = np.bincount(labels[stratified(labels)]), np.zeros(labels.max() + 1, int)
    test = np.zeros(len(labels), bool)
    parts = duplicates.parts(groups)
    for i in np.random.default_rng(SEED).permutation(len(parts)):
        counts = np.bincount(labels[parts[i]], minlength=len(taken))
        if (taken + counts <= target).all():
            test[parts[i]] = True
            taken += counts
    if not taken.all():
        label = int(np.argmin(taken))
        raise ValueError(
            f"class {(names or range(label + 1))[label]!r} would have no test item: its duplicates form groups too "
            f"large for a {TEST_SHARE:.0%} test split; {remedy}"
        )
    return test
