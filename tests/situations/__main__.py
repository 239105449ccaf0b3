"""python -m situations: the table, and exit code 1 if a row is wrong."""

import argparse
import os
import sys
from collections import Counter

os.environ.setdefault("JAX_PLATFORMS", "cpu")


def main() -> None:
    """Run the chosen situations and print a row each."""
    parser = argparse.ArgumentParser(prog="python -m situations", description="Situations: right, refused, or wrong.")
    parser.add_argument("words", nargs="*", help="rows whose kind or name contains one of these")
    parser.add_argument("--quick", action="store_true", help="without what trains or starts processes")
    options = parser.parse_args()
    from situations.table import WRONG, chosen, happened, line

    counts: Counter = Counter()
    for situation in chosen(options.words, options.quick):
        row = happened(situation)
        counts[row.outcome] += 1
        print(line(row), flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    sys.exit(counts[WRONG] > 0)


if __name__ == "__main__":
    main()
