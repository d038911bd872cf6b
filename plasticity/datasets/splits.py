"""Which items of a data set are test items, where nobody says so: drawn once, with a seed that the manifest records."""

from collections.abc import Sequence

import numpy as np

from . import duplicates

SEED = 0
TEST_SHARE = 0.2


def allotted(sizes: np.ndarray, share: float = TEST_SHARE) -> np.ndarray:
    """How many test items each class gets, int [classes]: round(share x all) together, but at least 1 each.

    By largest remainder: the whole part of share x size each, and one more where most of the fraction is lost (the
    first of equals). Each class rounded for itself would miss the total by up to half an item a class.
    """
    exact = np.round(share * np.asarray(sizes), 9)
    counts = np.maximum(1, np.floor(exact)).astype(int)
    rest = max(0, round(share * np.sum(sizes)) - counts.sum())
    lost = np.round(exact - counts, 9)  # as 1.2 and 2.2 are stored, their fractions differ
    counts[np.argsort(-lost, kind="stable")[:rest]] += 1
    return counts


def stratified(labels: np.ndarray, seed: int = SEED, share: float = TEST_SHARE) -> np.ndarray:
    """True for test items, bool [n]: as many of each class as `allotted` says, drawn at random."""
    rng, test = np.random.default_rng(seed), np.zeros(len(labels), bool)
    present, sizes = np.unique(labels, return_counts=True)
    for label, count in zip(present, allotted(sizes, share), strict=True):
        test[rng.permutation(np.flatnonzero(labels == label))[:count]] = True
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
    return _tested(test, labels, names, f"groups too large for a {TEST_SHARE:.0%} test split; {remedy}")


def without_duplicates(
    test: np.ndarray, labels: np.ndarray, groups: np.ndarray, names: Sequence[str] = (), remedy: str = "add others"
) -> np.ndarray:
    """A published test split (bool [n]) less the items whose group (int [n]) has items on the other side: they are
    learned from, too. Raises as `grouped` does."""
    kept = test & ~np.isin(groups, groups[~test])
    return _tested(kept, labels, names, f"groups with items that are learned from; {remedy}")


def _tested(test: np.ndarray, labels: np.ndarray, names: Sequence[str], why: str) -> np.ndarray:
    """``test``, if each class has an item in it."""
    counts = np.bincount(labels[test], minlength=labels.max() + 1)
    if not counts.all():
        label = int(np.argmin(counts))
        name = (names or range(label + 1))[label]
        raise ValueError(f"class {name!r} would have no test item: its duplicates form {why}")
    return test
