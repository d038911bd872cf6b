"""Images that are there twice: the same pixels (exact), or nearly the same picture (near), in groups.

Exact means equal pixels after decoding to 224 x 224, because those are what a network sees: it also finds copies saved
again without loss or with other metadata, which the bytes of the files would hide. Near means perceptual hashes (64
bits, of the grey image's lowest frequencies) that differ in at most THRESHOLD bits, and all that such pairs chain
together. Near is a suspicion: it sees no colour, and all images of one flat colour are the same to it.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THRESHOLD = 4  # bits of 64
ROWS = 512  # hashes compared with all others at a time; bounds the memory


def exact_groups(digests: Sequence[bytes]) -> np.ndarray:
    """A number for each item [n]; items with equal digests have the same."""
    return np.unique(np.array([d.hex() for d in digests]), return_inverse=True)[1]


def near_groups(hashes: np.ndarray, threshold: int = THRESHOLD) -> np.ndarray:
    """A number for each item [n], shared by those whose ``hashes`` (uint64 [n]) link up in steps of few enough bits."""
    unique, inverse = np.unique(hashes, return_inverse=True)
    pairs = [np.empty((2, 0), np.int64)]
    for start in range(0, len(unique), ROWS):
        distance = np.bitwise_count(unique[start : start + ROWS, None] ^ unique[None, start:])
        pairs.append(np.stack(np.nonzero(distance <= threshold)) + start)
    left, right = np.concatenate(pairs, 1)
    graph = coo_array((np.ones(len(left), np.uint8), (left, right)), (len(unique), len(unique)))
    return connected_components(graph, directed=False)[1][inverse]


def parts(groups: np.ndarray) -> list[np.ndarray]:
    """The indices of each group, those of one item included, in the order of the groups' numbers."""
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def members(groups: np.ndarray) -> list[list[int]]:
    """The indices of each group of two or more items, in the order of their first items."""
    return sorted(part.tolist() for part in parts(groups) if len(part) > 1)


def report(groups: np.ndarray, labels: np.ndarray, test: np.ndarray) -> dict:
    """What there is of groups of two or more items: how many, of how many images, how large; how many lie on both sides
    of the test split, and how many in several classes. "groups" lists their indices.

    Arguments: groups, labels int [n]; test bool [n].
    """
    found = members(groups)
    return {
        "number": len(found),
        "images": sum(map(len, found)),
        "largest": max(map(len, found), default=0),
        "across_test": sum(len(set(test[group].tolist())) > 1 for group in found),
        "across_classes": sum(len(set(labels[group].tolist())) > 1 for group in found),
        "groups": found,
    }
