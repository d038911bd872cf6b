"""Pack a data set: one of the papers' from ``data/raw``, a download, or its raw files elsewhere; others are made here.

Example:
    plasticity prepare dtd --source dtd-r1.0.1.tar.gz
"""

from . import options as shared

REFUSED = (ValueError, OSError)


def arguments(parser):
    parser.add_argument("name", help="of a data set: dtd, brain_tumor, fruit25, cifar10, photos, ...")
    shared.add(parser, "--data")
    parser.add_argument("--source", help="folder or archive (zip, tar, tar.gz) of the raw files")
    parser.add_argument("--any-count", action="store_true", help="accept fewer images than published")


def main(options) -> None:
    from ..data import load, manifest
    from ..datasets.prepare import prepare

    path = prepare(options.data, options.name, options.source, complete=not options.any_count)
    facts = manifest(path)
    print(path)
    published = f" of {facts['expected']:,} published" if "expected" in facts else ""
    test = load(options.data, options.name).test.sum()
    print(f"{facts['shape'][0]:,} images{published}, {test:,} of them test")
    for kind in ("exact", "near") if "duplicates" in facts else ():
        found = facts["duplicates"][kind]
        groups = f"{found['number']} groups of {found['images']} images (largest {found['largest']})"
        across = f"{found['across_test']} across the test split, {found['across_classes']} across classes"
        print(f"{kind} duplicates: {groups}, {across}")
