"""One process of the fuzzer: python -m fuzz.work BASE WORK SEED FIRST STEP CASES; a line of JSON for each case."""

import json
import os
import sys
from pathlib import Path

from fuzz.judge import Judge


def main() -> None:
    """Run the cases."""
    base, work, *numbers = sys.argv[1:]
    seed, first, step, cases = map(int, numbers)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    sys.dont_write_bytecode = True
    judge = Judge(Path(base), Path(work), seed)
    judge.case(-1 % cases)  # what is imported and compiled at first use is not the cases' own
    judge.limit_memory()
    for number in range(first, cases, step):
        answers.write(json.dumps(judge.case(number)) + "\n")


if __name__ == "__main__":
    main()
