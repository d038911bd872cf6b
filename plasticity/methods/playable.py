"""What of a run makes sense in a game; all else is refused by name before anything is spent."""

from ..interventions import Intervention, Reinitialize
from ..networks.table import ARCHITECTURES, GAME_NETWORKS
from ..training import games, scenarios
from .averages import Ema, SelfDistillation
from .resets import HeadReset, ShrinkPerturb

NEUTRAL = {"weights": "none", "validation": 0.0, "patience": 0, "augment": "none", "schedule": "constant"}
NEUTRAL |= {"warmup": 0.0, "measure": 0, "utility": "magnitude", "max_epochs": 2000, "compiled": False, "graph": False}
SIDES = {"minatar": 10, "atari": 84}  # of an observation
WHY = {
    "weights": "there are no pretrained ones",
    "validation": "nothing is held out",
    "patience": "its length is fixed",
    "augment": "the agent has its own",
    "measure": "the metrics are of classifiers",
    "utility": "there are no items to sum gradients over",
    "max_epochs": "online(steps=...) says how long it is",
}


def require_playable(run, method: Intervention) -> None:
    """Raise ValueError, naming the field, for a run that mixes games and data sets, or asks a game for what it has not.

    run: a `run.Run`; method: its intervention.
    """
    game, online = bool(games.GAME.fullmatch(run.dataset)), run.scenario.startswith("online")
    if not (game or online or run.agent or run.architecture in GAME_NETWORKS):
        return
    if not (game and online and run.agent and run.architecture in GAME_NETWORKS):
        given = f"dataset={run.dataset!r}, scenario={run.scenario!r}, agent={run.agent!r}"
        wants = f"a game, 'online(...)', an agent ({', '.join(games.AGENTS)}) and one of {', '.join(GAME_NETWORKS)}"
        what = "takes images" if run.architecture in ARCHITECTURES else "is the network"
        raise ValueError(f"{given}, and {run.architecture!r} {what}: these go together only as {wants}")
    for name, value in NEUTRAL.items():
        if getattr(run, name) != value:
            why = f" ({WHY[name]})" if name in WHY else ""
            raise ValueError(f"{name}={getattr(run, name)!r} with the game {run.dataset!r}: use {name}={value!r}{why}")
    _require_network(run)
    _require_length(run)
    _require_method(run, method)


def _require_network(run) -> None:
    size, side = GAME_NETWORKS[run.architecture].image_size, SIDES[run.dataset.partition("_")[0]]
    if size != side:
        known = ", ".join(name for name, network in GAME_NETWORKS.items() if network.image_size == side)
        raise ValueError(f"{run.architecture!r} takes {size} x {size} cells, {run.dataset!r} has {side}: use {known}")
    if getattr(games.build(run.agent), "ssl", False) and run.architecture != "impala_x4":
        raise ValueError(f"agent {run.agent!r}: {run.architecture!r} predicts no features; use impala_x4 or ssl=false")


def _require_length(run) -> None:
    online, agent = scenarios.build(run.scenario), games.build(run.agent)
    if online.steps <= agent.warmup:
        raise ValueError(f"steps={online.steps} of {run.scenario!r} must be above the agent's warmup={agent.warmup}")
    if agent.needs and agent.warmup < max(agent.needs, run.batch_size):
        given = f"warmup={agent.warmup} of agent {run.agent!r}"
        least = f"batch_size={run.batch_size} and the {agent.needs} transitions that its first update needs"
        raise ValueError(f"{given} is below {least}: raise warmup")
    if agent.needs:
        online.phases(agent.warmup)


def _require_method(run, method: Intervention) -> None:
    parts, case = getattr(method, "parts", [method]), f"case {run.case!r}"
    if method.augmentation:
        raise ValueError(f"{case} changes the augmentation of images, and a game has none; leave it out")
    if any(isinstance(part, SelfDistillation) for part in parts):
        raise ValueError(f"{case}: 'self_distillation' teaches probabilities, and a game has Q-values; take 'ema'")
    resets, averages = [part for part in parts if _resets(part)], [part for part in parts if isinstance(part, Ema)]
    phases = scenarios.build(run.scenario).reset
    if resets and not phases:
        raise ValueError(f"{case} acts at the start of later phases, and {run.scenario!r} has none: give reset=")
    if resets and phases and any(not average.restart for average in averages):
        raise ValueError(f"{case}: the average would not follow the reset of the network; give it restart=true")


def _resets(part: Intervention) -> bool:
    """Whether it changes weights at the start of later phases."""
    acts = isinstance(part, Reinitialize) and part.case.method != "base"
    return acts or isinstance(part, HeadReset | ShrinkPerturb)
