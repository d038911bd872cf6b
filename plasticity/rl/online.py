"""``fit`` of games: one run from build to test, beside `train.fit` and like it. Its pieces, in their order:

begin          build the network and open the game
resume         play an interrupted run's actions again, which fills its replay
begin_phase    a new optimiser; the method acts
train_epoch    act, store, update, the method's turn; an entry of the history
results        test the network that acts

An epoch is a number of updates, gradient steps; before every ``replay`` of them the game goes one step on. The first
``warmup`` steps are random, without updates.
"""

import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn

from ..interventions import Intervention, Start
from ..networks import table as networks
from ..run import Run
from ..train import DIVERGED, Diverged, generator
from ..training import games as settings_of
from ..training import measures, scenarios
from ..training.device import pick_device, random_states, require_able, set_precision, set_random_states
from ..training.optimizers import build_optimizer
from ..training.progress import Checkpoint, Fitted
from . import agents, games
from .play import Player, greedy, play

SCALE = {"minatar": 1.0, "atari": 1 / 255}  # of an observation's numbers, before the network


@dataclass
class Learning:
    """A run in progress. ``begin`` makes it; the other pieces change it."""

    run: Run
    method: Intervention
    online: scenarios.Online
    settings: object  # of the agent, see training.games
    agent: agents.Agent
    player: Player
    model: nn.Module
    initial: dict
    device: torch.device
    phases: list[int]  # updates of each
    draws: torch.Generator  # of the agent's batches and augmentation
    choices: torch.Generator  # of exploration
    started: float
    inputs: dict
    earlier: float = 0.0  # seconds in processes before this one
    history: list[dict] = field(default_factory=list)
    resets: list[dict] = field(default_factory=list)
    number: int = 0  # of the phase, counted from 1
    updates: int = 0
    optimizer: torch.optim.Optimizer | None = None
    predictor: nn.Module | None = None

    @property
    def seconds(self) -> float:
        """Spent so far, in this process and earlier ones."""
        return self.earlier + time.perf_counter() - self.started

    @property
    def end(self) -> int:
        """Updates by the end of the phase."""
        return sum(self.phases[: self.number])

    def images(self, count: int) -> torch.Tensor:
        """At most ``count`` observations that the game has given, evenly spaced: float32 [count, c, h, w]."""
        steps = self.player.replay.t
        return self.agent.input(self.player.replay.observe(torch.arange(0, steps, max(1, steps // count))[:count]))

    def state(self) -> dict:
        """All that ``resume`` needs: not the replay, but the actions that fill it again."""
        replay = self.player.replay
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "method": self.method.state_dict(),
            "agent": self.agent.state_dict(),
            "phase": self.number,
            "updates": self.updates,
            "random": random_states(self.draws, self.choices, self.device),
            "actions": replay.action[: replay.t].clone(),
            "crc": replay.crc,
            "scores": list(self.player.scores),
            "history": self.history,
            "seconds": self.seconds,
        }


def fit(
    run: Run,
    device: str = "auto",
    intervention: Intervention | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """Learn and test one game: build, act, store and update; in each phase of ``run.scenario`` intervene first.

    The metrics: ``score``, the mean of the test games, with ``score_sd``, ``test_episodes`` and how many were
    ``capped``; ``updates``, ``epochs``, and ``train_score``, the mean of the games that ended in the last tenth of the
    epochs. Scores are as the game gives them. On the CPU the result is bit for bit repeatable for a seed.

    Args:
        device: "cpu", "cuda" or "auto".
        intervention: what acts on the network, instead of what ``run.case`` names.
        checkpoint: where states go, and where an interrupted run is taken up; as in `train.fit`.

    Raises:
        Diverged: the loss became NaN, infinite or huge. ValueError: unknown game. ModuleNotFoundError: no package.
    """
    learning = begin(run, device, intervention)
    state = checkpoint.load(learning.inputs) if checkpoint else None
    if state and not learning.player.again(state["actions"], state["crc"]):
        print(f"{run}: its recorded actions lead elsewhere than they did, so it begins anew", flush=True)
        learning, state = begin(run, device, intervention), None
    with torch.random.fork_rng():  # what a network draws, such as noise, comes from the global stream
        torch.manual_seed(generator(run.seed, "dropout").initial_seed())
        for number in range(1, len(learning.phases) + 1):
            begin_phase(learning, number)
            if state and number == state["phase"]:
                resume(learning, state)
            while (not state or number >= state["phase"]) and learning.updates < learning.end:
                train_epoch(learning)
                if checkpoint and checkpoint.due():
                    checkpoint.save(len(learning.history), learning.state())
        return results(learning, checkpoint.resumed if checkpoint else [])


def begin(run: Run, device: str = "auto", intervention: Intervention | None = None) -> Learning:
    """All that a run needs before its first phase, the random steps included."""
    started, device = time.perf_counter(), pick_device(device)
    require_able(device, run.precision)
    online, settings = scenarios.build(run.scenario), settings_of.build(run.agent)
    method, stream = intervention or run.intervention(), partial(generator, run.seed)
    learns = settings.needs > 0
    player = Player(run.dataset, stream("game").initial_seed() % 2**31, online.steps if learns else 0)
    channels, actions = player.game.shape[0], player.game.actions
    needs, head = settings.network, networks.architecture(run.architecture).head
    model = networks.build_for_game(run.architecture, channels, actions, stream("model").initial_seed(), **needs)
    method.reshape(model, head)
    initial = {name: value.clone().to(device) for name, value in model.state_dict().items()}
    set_precision(run.precision)
    order = torch.channels_last if run.channels_last else torch.contiguous_format
    view = agents.View(SCALE[run.dataset.partition("_")[0]], device, order)
    draws = stream("batches")
    return Learning(
        run=run,
        method=method,
        online=online,
        settings=settings,
        agent=agents.build(settings, player.replay, run.batch_size, view, draws),
        player=player,
        model=model.to(device, memory_format=order),
        initial=initial,
        device=device,
        phases=online.phases(settings.warmup) if learns else [],
        draws=draws,
        choices=stream("explore"),
        started=started,
        inputs={"game": games.input_sha256(run.dataset)},
    )


def begin_phase(learning: Learning, number: int) -> None:
    """A new optimiser, and the method acts on the network."""
    run, epoch = learning.run, learning.online.epoch
    if number == 1 and not learning.player.replay.t:
        for _ in range(learning.settings.warmup):
            learning.player.act(choose(learning))
    learning.number = number
    learning.optimizer = build_optimizer(run, learning.model)
    if learning.settings.spares_biases:
        spare_biases(learning.optimizer)
    learning.agent.begin_phase()
    least = min(learning.phases)
    start = Start(
        generator=generator(run.seed, "reinit" if number == 1 else f"reinit/{number}"),
        optimizer=learning.optimizer,
        gradients=dict,  # refused by methods.playable
        phase=number,
        steps_per_epoch=epoch,
        shortest=(least, max(1, least // epoch)),
        learned=number > 1,
        initial=learning.initial,
        head=networks.architecture(run.architecture).head,
        images=learning.images,
        precision=run.precision,
    )
    learning.resets += learning.method.prepare(learning.model, start)
    learning.predictor = learning.method.evaluated(learning.model)


def spare_biases(optimizer: torch.optim.Optimizer) -> None:
    """Take parameters of one dimension out of the weight decay, as BBF does."""
    (group,) = optimizer.param_groups
    biases = [parameter for parameter in group["params"] if parameter.ndim == 1]
    group["params"] = [parameter for parameter in group["params"] if parameter.ndim > 1]
    optimizer.add_param_group({"params": biases, "weight_decay": 0.0})


def resume(learning: Learning, state: dict) -> None:
    """Take up ``state``, whose actions have been played."""
    learning.model.load_state_dict(state["model"])
    learning.optimizer.load_state_dict(state["optimizer"])
    learning.method.load_state_dict(state["method"])
    learning.agent.load_state_dict(state["agent"])
    set_random_states(state["random"], learning.draws, learning.choices, learning.device)
    learning.player.scores = list(state["scores"])
    learning.updates, learning.history, learning.earlier = state["updates"], state["history"], state["seconds"]
    learning.predictor = learning.method.evaluated(learning.model)


def choose(learning: Learning) -> int:
    """An action: at random, or the best one by the network that predicts."""
    replay, choices = learning.player.replay, learning.choices
    if torch.rand((), generator=choices).item() < learning.agent.explore(replay.t):
        return int(torch.randint(learning.player.game.actions, (), generator=choices))
    return greedy(learning.predictor, learning.agent.input(torch.from_numpy(learning.player.seen[None])))


def train_epoch(learning: Learning) -> None:
    """One epoch: acting and updates, the method's turn, and an entry of the history."""
    run, count = learning.run, min(learning.online.epoch, learning.end - learning.updates)
    learning.model.train()
    loss_sum = torch.zeros((), device=learning.device)
    for _ in range(count):
        if learning.updates % learning.online.replay == 0:
            learning.player.act(choose(learning))
        loss_sum += update(learning)
    train_loss, epoch = loss_sum.item() / count, len(learning.history) + 1
    if not abs(train_loss) <= DIVERGED:
        raise Diverged(f"training loss is {train_loss} in epoch {epoch} ({run}, lr {run.lr}): lower the learning rate")
    if count == learning.online.epoch:  # the rest after the last whole one is none
        learning.method.after_epoch(epoch)
    learning.predictor = learning.method.evaluated(learning.model)
    entry = {"epoch": epoch, "train_loss": train_loss, "steps": learning.player.replay.t}
    if learning.online.reset:
        entry["phase"] = learning.number
    scores = learning.player.scores
    learning.history.append(
        entry | {"games": len(scores)} | ({"train_score": float(np.mean(scores))} if scores else {})
    )
    scores.clear()


def update(learning: Learning) -> torch.Tensor:
    """One gradient step; returns the loss, without the method's penalty, on the device."""
    run, method, optimizer = learning.run, learning.method, learning.optimizer
    learning.updates += 1
    with torch.autocast(learning.device.type, torch.bfloat16, enabled=run.precision == "bf16"):
        done = learning.agent.update(learning.model, learning.predictor)
    penalty = method.penalty(learning.model, done.values, done.observations)
    optimizer.zero_grad()
    (done.loss if penalty is None else done.loss + penalty).backward()
    if run.clip:
        nn.utils.clip_grad_norm_(learning.model.parameters(), run.clip)
    optimizer.step()
    method.after_step(learning.updates)
    return done.loss.detach()


def results(learning: Learning, resumed: list[int]) -> Fitted:
    """Play the test games with the network that acts."""
    run, history, settings = learning.run, learning.history, learning.settings
    predictor = learning.predictor if learning.phases else None
    share = settings.test_explore if predictor else 1.0
    draws = generator(run.seed, "test")
    scores, capped = play(predictor, learning.agent.input, run.dataset, learning.online.tests, share, draws)
    last = [row for row in history[-max(1, len(history) // 10) :] if row["games"]]
    metrics = {"score": float(scores.mean()), "score_sd": float(scores.std()), "test_episodes": len(scores)}
    metrics |= {"capped": capped, "updates": learning.updates, "epochs": len(history)}
    if last:
        games_ended = sum(row["games"] for row in last)
        metrics["train_score"] = sum(row["games"] * row["train_score"] for row in last) / games_ended
    model = predictor or learning.model
    parts = (model, model, metrics, history, learning.resets, measures.weight_histogram(model))
    return Fitted(run, *parts, learning.seconds, learning.inputs, resumed)
