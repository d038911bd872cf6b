"""Steps a second of the games, Atari beside gymnasium's preprocessing in turns: `python benchmarks/environments.py`.

Random actions, observations taken, one process. A step of Atari is 4 frames; gymnasium's AtariPreprocessing resizes by
OpenCV and stacks by FrameStackObservation.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in a worker; numpy looks when it is imported

import ale_py  # noqa: E402
import gymnasium  # noqa: E402
import numpy as np  # noqa: E402

from plasticity.rl import games  # noqa: E402
from plasticity.running import provenance  # noqa: E402

ATARI = ("breakout", "pong", "seaquest", "boxing", "ms_pacman", "qbert")


def of_ours(name: str, steps: int, seed: int) -> float:
    """Steps a second of CPU time."""
    game, rng = games.open_game(name, seed), np.random.default_rng(seed)
    actions = rng.integers(game.actions, size=steps).tolist()
    started = time.process_time()
    for action in actions:
        game.act(action)
        game.see()
    return steps / (time.process_time() - started)


def of_gymnasium(name: str, steps: int, seed: int) -> float:
    """The same of gymnasium's Atari."""
    title = "".join(part.capitalize() for part in name.split("_"))
    raw = gymnasium.make(f"ALE/{title}-v5", frameskip=1, repeat_action_probability=0.0)
    wrapped = gymnasium.wrappers.AtariPreprocessing(raw, terminal_on_life_loss=True)
    stacked = gymnasium.wrappers.FrameStackObservation(wrapped, 4)
    rng = np.random.default_rng(seed)
    actions = rng.integers(raw.action_space.n, size=steps).tolist()
    stacked.reset(seed=seed)
    started = time.process_time()
    for action in actions:
        observation, _, over, cut, _ = stacked.step(action)
        np.asarray(observation)
        if over or cut:
            stacked.reset()
    return steps / (time.process_time() - started)


def spread(values: list[float]) -> str:
    """The median and the range."""
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    gymnasium.register_envs(ale_py)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    print(f"{provenance.machine()}, one thread, {options.steps} steps, n = {options.rounds}: median (range)\n")
    print("| game | steps/s | gymnasium | ratio |\n|---|---|---|---|")
    for name in ATARI:
        ours, theirs = [], []
        for seed in range(options.rounds):
            ours.append(of_ours(f"atari_{name}", options.steps, seed))
            theirs.append(of_gymnasium(name, options.steps, seed))
        ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
        print(f"| Atari {name} | {spread(ours)} | {spread(theirs)} | {ratio:.2f} |", flush=True)
    for name in games.MINATAR:
        ours = [of_ours(f"minatar_{name}", options.steps, seed) for seed in range(options.rounds)]
        print(f"| MinAtar {name} | {spread(ours)} | - | - |", flush=True)


if __name__ == "__main__":
    main()
