"""How the effect of 10M depends on the protocol: each setting altered alone, as runs by factor and level, and what 10M
consists of.

What Coetzer et al. 2026 leave open (section 3) or to future work (section 5). A level is a function from a run of the
profile's own setting to the run that differs in this alone; a run that does not feel the change is left as it is, and
so is not done again.
"""

from collections.abc import Callable
from dataclasses import replace

from ... import profiles
from ...networks.table import architecture
from ...profiles import Profile, get_profile
from ...run import Run

CASE = "10M"  # the paper's recommendation
OWN = "the profile's own"  # the part with the unaltered setting
CONSISTS = "what 10M consists of"  # the part with the controls that take it apart
OTHER_HEAD = "base + other_head"
NAMES = {"mini": "sensitivity", "quick": "sensitivity_quick", "paper": "sensitivity_paper"}
Level = tuple[str, str]  # factor and level
Change = Callable[[Run], Run]


def _rate(run: Run, times: float, **fields) -> Run:
    return replace(run, lr=float(f"{times * run.lr:.3g}"), **fields)


def _reset_only(**fields) -> Change:
    """A change that only re-initialisation feels: base is the same run."""
    return lambda run: run if run.case == "base" else replace(run, **fields)


def _optimizer(name: str, times: float, momentum: float) -> Change:
    """Untuned: the rate by the rule of thumb that AdamW wants a tenth of SGD's."""
    return lambda run: run if run.optimizer == name else _rate(run, times, optimizer=name, momentum=momentum)


def _biases_kept(run: Run) -> Run:
    keeps_them_anyway = run.case == "base" and run.reading == "code"
    return run if keeps_them_anyway else replace(run, biases="keep")


def _no_embeddings(run: Run) -> Run:
    return _reset_only(tensors="no_embeddings")(run) if architecture(run.architecture).family == "vit" else run


LEVELS: dict[Level, Change] = {  # for 10M, "text" is the same as biases="zero"
    ("learning rate", "a third"): lambda run: _rate(run, 1 / 3),
    ("learning rate", "three times"): lambda run: _rate(run, 3),
    ("batch size", "half"): lambda run: replace(run, batch_size=max(1, run.batch_size // 2)),
    ("batch size", "double"): lambda run: replace(run, batch_size=2 * run.batch_size),
    ("optimiser", "AdamW"): _optimizer("adamw", 1 / 10, 0.0),
    ("optimiser", "SGD"): _optimizer("sgd", 10, 0.9),
    ("patience", "a third"): lambda run: replace(run, patience=max(1, run.patience // 3)),
    ("patience", "double"): lambda run: replace(run, patience=2 * run.patience),
    ("reading", "code"): lambda run: replace(run, reading="code"),
    ("reading", "text (biases zero)"): lambda run: replace(run, reading="text"),
    ("biases", "kept"): _biases_kept,
    ("scope", "global"): _reset_only(scope="global"),
    ("utility", "gradient"): _reset_only(utility="gradient"),
    ("tensors", "without the head"): _reset_only(tensors="no_head"),
    ("tensors", "without embeddings"): _no_embeddings,
    ("tensors", "with gains"): _reset_only(tensors="with_gains"),
    ("stopped and chosen by", "test items"): lambda run: replace(run, monitor="test"),
}
QUICK = ("learning rate", "biases", "tensors", "stopped and chosen by")  # the factors of a first look


def profile_of(name: str, repeats: int = 0, reading: str = "") -> Profile:
    """The sensitivity profile: by its own name, or by that of the profile it belongs to ("mini", "quick", "paper")."""
    if name not in (known := [*NAMES, *NAMES.values()]):
        raise ValueError(f"profile {name!r} has no sensitivity study; those that have: {', '.join(known)}")
    return get_profile(NAMES.get(name, name), repeats, reading)


def part(factor: str, level: str) -> str:
    """The name of a level's part."""
    return f"{factor}: {level}"


def levels(profile: Profile) -> dict[Level, Change]:
    """The levels that a profile's study has: all that change any of its runs; a first look has few factors."""
    chosen = QUICK if profile.name == NAMES["quick"] else {factor for factor, _ in LEVELS}
    return {level: alter for level, alter in LEVELS.items() if level[0] in chosen and _altered(profile, alter)}


def study(profile: Profile) -> dict[str, list[Run]]:
    """The runs by part: `OWN`, ``factor: level``, `CONSISTS`. Each part has base and 10M for all networks, data sets
    and seeds that feel the change (`CONSISTS`: also 10Z, the bias control and base with another head); a run may belong
    to several."""
    own = list(profiles.grid(profile, cases=("base", CASE)))
    parts = {OWN: own} | {part(*level): _altered(profile, alter) for level, alter in levels(profile).items()}
    return parts | {CONSISTS: [*own, *profiles.grid(profile, cases=("10Z", "biases", OTHER_HEAD))]}


def _altered(profile: Profile, alter) -> list[Run]:
    pairs = zip(profiles.grid(profile, cases=("base",)), profiles.grid(profile, cases=(CASE,)), strict=True)
    return [alter(run) for pair in pairs if alter(pair[1]) != pair[1] for run in pair]


def unique(parts: dict[str, list[Run]]) -> list[Run]:
    """The runs of a study, each once."""
    return list(dict.fromkeys(run for runs in parts.values() for run in runs))


def grid(profile: Profile) -> tuple[Run, ...]:
    """All runs of a sensitivity profile, each once."""
    return tuple(unique(study(profile)))
