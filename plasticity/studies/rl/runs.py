"""Table 1 of Lee et al. 2024 as a grid of runs: Atari-100k, and in miniature MinAtar.

A row is an agent and a case, with the updates (gradient steps) of a phase, at whose end the optimiser is replaced and
methods reset weights. Time scales of the miniature are fractions of a run as the paper's: 50 resets of a hare, 4 of a
head. Its settings come from looks at the EMA row with seed 0 alone, so its seeds begin at 10. What the paper leaves
open is decided here: resets count gradient steps, as in the first author's other code (PLASTIC); shrink & perturb keeps
half, as in BBF; what is reset is drawn anew, as in both.
"""

from dataclasses import dataclass, replace

from ...profiles import ADAMW, Profile, get_profile
from ...run import Run

NAMES = {"mini": "rl", "quick": "rl_quick", "paper": "rl_paper", "rehearsal": "rl_rehearsal"}
FIRST_SEED = 10
RANDOM, PLAIN = "random play", "EMA"
LIKE = {PLAIN: "DrQ", "Hare & Tortoise": "DrQ, H&T", "EMA, head reset": "DrQ, HR 40k", "EMA, S&P": "DrQ, S&P"}
FRESH = "head_reset(fresh=true)"
SHRINK = "shrink_perturb(keep=0.5, fresh=true)"
FROM_SCRATCH = {"weights": "none", "patience": 0, "validation": 0.0, "augment": "none", "epsilon": 1.5e-4} | ADAMW


@dataclass(frozen=True)
class Row:
    """A row of the table. steps: of the environment; replay: updates after each; epoch, reset: updates of an epoch and
    of a phase (0: one phase); tests: games played at the end; more: other fields of the run."""

    title: str
    case: str
    agent: str
    architecture: str
    steps: int
    replay: int
    epoch: int
    reset: int
    tests: int
    more: tuple[tuple[str, float], ...]

    def run(self, game: str, seed: int, reading: str = "code") -> Run:
        """The row's run of a game."""
        numbers = {name: getattr(self, name) for name in ("steps", "replay", "epoch", "reset", "tests")}
        scenario = f"online({', '.join(f'{name}={value}' for name, value in numbers.items())})"
        settings = FROM_SCRATCH | dict(self.more) | {"reading": reading}
        return Run(self.architecture, game, self.case, seed, scenario=scenario, agent=self.agent, **settings)


def average(momentum: float, restart: bool = False, hare: bool = False) -> str:
    """The case of the slow copy; ``restart``: it follows resets; ``hare``: which goes back to it after each epoch."""
    extra = f"{', restart=true' if restart else ''}{', epochs=1' if hare else ''}"
    return f"{'hare_tortoise' if hare else 'ema'}(momentum={momentum}{extra})"


def mini_rows(steps: int, updates: int, tests: int) -> list[Row]:
    """The miniature's, with so many updates at replay ratio 1; epochs are a fiftieth, phases a fifth of a run."""
    mu, agent = 0.97, "drq(n_step=5, gamma=0.95, warmup=1000, decay=3000, explore=0.02, shift=0, intensity=0)"
    ema, follows, hare = average(mu), average(mu, restart=True), average(mu, hare=True)
    common = (("lr", 1e-3), ("clip", 10.0), ("channels_last", False))

    def row(title: str, case: str, resets: bool = False, replay: int = 1) -> Row:
        epoch, reset = replay * updates // 50, replay * updates // 5 if resets else 0
        return Row(title, case, agent, "mini_dqn", steps, replay, epoch, reset, tests, common)

    rows = [
        replace(row(RANDOM, "base"), agent="random", tests=10 * tests),
        row("no slow copy", "base"),
        row(PLAIN, ema),
        row("Hare & Tortoise", hare),
        row("EMA, fresh optimiser", ema, resets=True),
        row("EMA, head reset", f"{FRESH} + {follows}", resets=True),
        row("EMA, S&P", f"{SHRINK} + {follows}", resets=True),
        row("EMA, 10M", f"10M + {follows}", resets=True),
    ]
    often = [(PLAIN, ema, False), ("Hare & Tortoise", hare, False), ("EMA, head reset", f"{FRESH} + {follows}", True)]
    return rows + [row(title, case, resets, replay=4) for title, case, resets in often]


def paper_rows() -> list[Row]:
    """The nine rows of Table 1, in its order, at replay ratio 2."""
    hare, follows = average(0.995, hare=True), average(0.995, restart=True)
    hare_follows = average(0.995, restart=True, hare=True)

    def drq(title: str, case: str, reset: int = 0) -> Row:
        return Row(title, case, "drq", "nature_cnn", 100_000, 2, 4000, reset, 100, (("lr", 1e-4),))

    def bbf(title: str, case: str, agent: str = "bbf") -> Row:
        more = (("lr", 1e-4), ("weight_decay", 0.1))
        case = f"{SHRINK} + {FRESH} + {case}"
        return Row(title, case, agent, "impala_x4", 100_000, 2, 4000, 40_000, 100, more)

    return [
        drq("DrQ", "base"),
        drq("DrQ, S&P", SHRINK, 40_000),
        drq("DrQ, H&T", hare),
        drq("DrQ, HR 20k", FRESH, 20_000),
        drq("DrQ, HR 40k", FRESH, 40_000),
        drq("DrQ, HR 40k, H&T", f"{FRESH} + {hare_follows}", 40_000),
        bbf("BBF", follows),
        bbf("BBF, H&T", hare_follows),
        bbf("BBF, SSL", follows, "bbf(ssl=true)"),
    ]


def rainbow_row() -> Row:
    """PLASTIC's "DrQ", with the target that it has: what the paper may have meant by DrQ instead."""
    more = (("lr", 1.414e-4), ("clip", 10.0))
    case = average(0.99)
    return Row("Rainbow (PLASTIC's DrQ)", case, "rainbow", "nature_cnn", 100_000, 2, 4000, 0, 100, more)


def rehearsal_rows() -> list[Row]:
    """Full networks and games, few updates: two phases, each of several epochs."""
    rows = []
    for row in [*paper_rows(), rainbow_row()]:
        updates = 24 if row.architecture == "impala_x4" else 400  # an update of BBF takes as long as fifty of DrQ
        agent = row.agent.removesuffix(")") + (", warmup=100)" if "(" in row.agent else "(warmup=100)")
        sizes = {"steps": 100 + updates // 2, "epoch": updates // 4, "reset": updates // 2 if row.reset else 0}
        rows.append(replace(row, agent=agent, tests=1, **sizes))
    return rows


def profile_of(name: str, repeats: int = 0, reading: str = "") -> Profile:
    """The profile of this study that belongs to a profile of the main paper, or has that name itself."""
    return get_profile(NAMES.get(name, name), repeats, reading)


def rows_of(profile: Profile) -> list[Row]:
    """ValueError for a profile that plays no games."""
    rows = {
        "rl": lambda: mini_rows(10_000, 9000, 32),
        "rl_quick": lambda: mini_rows(2000, 1000, 8)[:6],
        "rl_paper": paper_rows,
        "rl_rehearsal": rehearsal_rows,
    }
    if profile.name not in rows:
        raise ValueError(f"profile {profile.name!r} plays no games; profiles that do: {', '.join(rows)}")
    return rows[profile.name]()


def study(profile: Profile) -> dict[tuple[str, int], list[Run]]:
    """{(row's title, replay ratio): its runs, game by game}."""
    seeds, reading = range(FIRST_SEED, FIRST_SEED + profile.repeats), profile.reading
    return {
        (row.title, row.replay): [row.run(game, seed, reading) for game in profile.datasets for seed in seeds]
        for row in rows_of(profile)
    }


def grid(profile: Profile) -> tuple[Run, ...]:
    """All runs of a profile, each once."""
    return tuple(dict.fromkeys(run for runs in study(profile).values() for run in runs))
