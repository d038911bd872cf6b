"""Pack one of the papers' data sets: ``python -m plasticity.prepare dtd --source FOLDER OR ARCHIVE``."""

import argparse
import sys

from .. import data
from ..datasets import classic
from ..datasets import main_paper as real
from ..datasets.prepare import prepare


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0, or 2 and one line on what is wrong."""
    parser = argparse.ArgumentParser("python -m plasticity.prepare", description="Pack one of the papers' data sets.")
    parser.add_argument("name", choices=[*real.VARIANTS, *classic.SETS])
    parser.add_argument(
        "--data", default="data", help="folder of the packed sets; raw files are looked for in its raw/"
    )
    parser.add_argument("--source", help="folder or archive (zip, tar, tar.gz) of the raw files")
    parser.add_argument("--any-count", action="store_true", help="accept fewer images than published")
    options = parser.parse_args(arguments)
    try:
        path = prepare(options.data, options.name, options.source, complete=not options.any_count)
        facts = data.manifest(path)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(path)
    test = sum(facts["test_counts"].values())
    print(f"{facts['shape'][0]:,} images of {facts['expected']:,} published, {test:,} of them test")
    for kind in ("exact", "near") if "duplicates" in facts else ():
        found = facts["duplicates"][kind]
        print(
            f"{kind} duplicates: {found['number']} groups of {found['images']} images (largest {found['largest']}), "
            f"{found['across_test']} across the test split, {found['across_classes']} across classes"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
