"""How a grid goes: a bar in a live notebook, one line a finished run in a log, and the time left."""

import os
import sys
from collections import Counter, defaultdict

from tqdm.auto import tqdm


class Progress:
    """``kinds``: {run: what tells how long it takes, such as architecture and data set}, for all runs there are to do.

    The time left is the finished runs' mean duration by kind (over all, while a kind has none) for those that are not finished,
    over the runs at a time, of which each is taken to be half-way. It asks no wall clock: one that jumps does no harm.
    """

    def __init__(self, kinds: dict):
        live = "JPY_SESSION_NAME" in os.environ or sys.stderr.isatty()
        self.bar = tqdm(total=len(kinds), unit="run") if live and kinds else None
        self.kinds, self.done, self.at_once = kinds, 0, 1
        self.seconds, self.timed, self.open = defaultdict(float), Counter(), Counter(kinds.values())

    def step(self, run, line: str, seconds: float | None, at_once: int) -> None:
        """A run is finished, after ``seconds`` (None: another process did it), while ``at_once`` were in progress."""
        kind = self.kinds[run]
        if seconds is not None:
            self.seconds[kind] += seconds
            self.timed[kind] += 1
        self.open[kind] -= 1
        self.done, self.at_once = self.done + 1, max(1, at_once)
        left = f"{self.left() / 60:.1f} min left"
        if self.bar:
            self.bar.update()
            self.bar.set_postfix_str(left)
        else:
            print(f"{self.done}/{len(self.kinds)} {line}; {left}", flush=True)

    def left(self) -> float:
        """Seconds until all is done, as far as one can tell; NaN before a run has told its duration."""
        if not self.timed:
            return float("nan")
        overall = sum(self.seconds.values()) / sum(self.timed.values())
        mean = {kind: self.seconds[kind] / self.timed[kind] if self.timed[kind] else overall for kind in self.open}
        runs, work = sum(self.open.values()), sum(mean[kind] * count for kind, count in self.open.items())
        begun = min(self.at_once - 1, runs)  # the one that has just ended is not among them
        return work * (1 - begun / 2 / runs) / min(self.at_once, runs) if runs else 0.0

    def say(self, line: str) -> None:
        """A line between the others."""
        if self.bar:
            self.bar.write(line)
        else:
            print(line, flush=True)

    def close(self) -> None:
        """No more runs."""
        if self.bar:
            self.bar.close()
