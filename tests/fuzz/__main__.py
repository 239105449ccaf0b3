"""python -m fuzz: cases over all cores, and what did not hold."""

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.progress import Progress

WAIT = 60.0
"""Seconds without a word from a process, after which it is taken to hang."""


def main() -> None:
    """Run cases and print those that break a promise; exit code 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Damaged files and odd command lines.")
    parser.add_argument("--cases", type=int, default=3400, help="cases of each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--case", type=int, help="this case only, with all that it prints")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headstart-fuzz-") as place:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.realpath(Path(place, "cache"))
        from fuzz import corpus

        corpus.build(Path(place, "base"))
        if options.case is not None:
            from fuzz.judge import Judge

            print(
                Judge(Path(place, "base"), Path(place, "work"), options.seeds[0]).case(options.case, loud=True) or "as promised"
            )
            return
        broken = sum(_seed(Path(place), seed, options.cases, options.processes) for seed in options.seeds)
    print(f"{broken} broken promises in {options.cases * len(options.seeds)} cases, seeds {options.seeds}")
    sys.exit(broken > 0)


def _seed(place: Path, seed: int, cases: int, processes: int) -> int:
    workers, broken, start = [], 0, time.monotonic()
    with Progress() as bar:
        task = bar.add_task(f"seed {seed}", total=cases)
        for first in range(processes):
            workers.append(Worker(place, seed, first, processes, cases))
        while any(worker.running for worker in workers):
            for worker in workers:
                for done, told in worker.hear():
                    bar.update(task, advance=done)
                    if told:
                        broken += 1
                        bar.print(f"seed {seed}, {told}", markup=False, highlight=False)
            time.sleep(0.02)
    print(f"seed {seed}: {cases} cases in {time.monotonic() - start:.0f} s, {broken} broken promises")
    return broken


class Worker:
    """A process that runs every n-th case; if it dies or hangs, that case is broken, and another process goes on."""

    def __init__(self, place: Path, seed: int, first: int, step: int, cases: int):
        self.place, self.seed, self.step, self.cases = place, seed, step, cases
        self.at, self.starts = first, 0
        self.running = first < cases
        self._start()

    def _start(self) -> None:
        self.starts += 1
        work = self.place / f"work-{self.seed}-{self.at % self.step}-{self.starts}"
        order = [str(self.place / "base"), str(work), *map(str, (self.seed, self.at, self.step, self.cases))]
        command = [sys.executable, "-m", "fuzz.work", *order]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        self.heard = time.monotonic()

    def hear(self) -> list[tuple[int, str]]:
        """[(cases done, what one broke)] since the last call."""
        out = []
        assert self.process.stdout is not None
        while self.running and select.select([self.process.stdout], [], [], 0)[0]:
            line = self.process.stdout.readline()
            if not line:
                out.append(self._lost(f"the process ended with code {self.process.wait()}"))
                break
            self.heard, self.at = time.monotonic(), self.at + self.step
            out.append((1, json.loads(line)))
            self.running = self.at < self.cases
        if self.running and time.monotonic() - self.heard > WAIT:
            self.process.kill()
            out.append(self._lost(f"nothing was heard for {WAIT:.0f} s"))
        return out

    def _lost(self, why: str) -> tuple[int, str]:
        told = f"case {self.at}: {why}"
        self.at += self.step
        self.running = self.at < self.cases
        if self.running:
            self._start()
        return 1, told


if __name__ == "__main__":
    main()
