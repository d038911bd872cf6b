"""Games by name, each with one small interface, `Game`. An explicit seed is all of a game's randomness, so that its
actions are its whole history.

MinAtar (Young & Tian 2019) as its package plays it, sticky actions and growing difficulty included. Atari as Atari-100k
has it (Kaiser et al. 2020; Machado et al. 2018): 4 frames a step, the maximum of the last two, 84 x 84 grey, 4 stacked,
no sticky actions, up to 30 steps without action at a game's start.
"""

import hashlib
import importlib.metadata
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

PACKAGES = {"minatar": "minatar", "atari": "ale-py"}
MINATAR = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
SIDE, SKIP, NO_OPS = 84, 4, 30
LONGEST = 27_000  # steps of a game of Atari: 108,000 frames


class Game(Protocol):
    """What a player sees of a game. When a game is over, the next begins by itself."""

    actions: int  # those that the game knows
    shape: tuple[int, int, int]  # of an observation: channels, height, width
    frames: int  # that an observation stacks

    def see(self) -> np.ndarray:
        """The present observation, uint8 [channels, height, width], the newest frame last; before the start of an
        episode its frames are zero."""

    def act(self, action: int) -> tuple[float, bool, float | None]:
        """(reward, whether the episode ended, the true score of the game if it is over). While learning, the reward
        of Atari is the score's sign, and a lost life ends the episode."""


def open_game(name: str, seed: int, testing: bool = False) -> Game:
    """A game as it is learnt, or as it is tested: true rewards, and only the end of a game ends anything.

    Raises ValueError for an unknown game; ModuleNotFoundError, with the pip line, without its package.
    """
    require(name)
    kind, _, game = name.partition("_")
    return MinAtar(game, seed) if kind == "minatar" else Atari(game, seed, testing)


def require(name: str) -> None:
    """Raise, saying what to do, if a game can't be played here; see `open_game`."""
    kind, _, game = name.partition("_")
    package = PACKAGES[kind]
    if version_of(package) is None:
        raise ModuleNotFoundError(
            f"{name!r} needs the package {package}, which is not installed: pip install '.[rl]' in the checkout"
        )
    known = MINATAR if kind == "minatar" else atari_names()
    if game not in known:
        near = get_close_matches(game, known, 3, 0.5)
        said = f"the nearest are: {', '.join(f'{kind}_{one}' for one in near)}" if near else "no name is near it"
        raise ValueError(f"unknown game {name!r}: {package} {version_of(package)} has {len(known)} games; {said}")


def version_of(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def input_sha256(name: str) -> str:
    """The SHA-256 of what the game is: the ROM, and the package's name and version."""
    require(name)
    kind, _, game = name.partition("_")
    package = PACKAGES[kind]
    digest = hashlib.sha256(f"{package} {version_of(package)} {game}".encode())
    if kind == "atari":
        digest.update(rom(game).read_bytes())
    return digest.hexdigest()


def atari_names() -> tuple[str, ...]:
    """The games whose ROMs ale-py carries."""
    from ale_py import roms

    return tuple(sorted(roms.get_all_rom_ids()))


def rom(game: str) -> Path:
    """The file of a ROM."""
    from ale_py import roms

    return Path(roms.get_rom_path(game))


class MinAtar:
    """One of the five games on 10 x 10 cells, a channel for each kind of thing. Its rewards are its score."""

    frames = 1

    def __init__(self, game: str, seed: int):
        from minatar import Environment

        self._game = Environment(game)
        self._game.seed(seed)  # its constructor has begun a game without seed
        self._game.reset()
        self._actions = self._game.minimal_action_set()
        self.actions, self.shape, self._score = len(self._actions), (self._game.n_channels, 10, 10), 0.0

    def see(self):
        """uint8 [channels, 10, 10] of 0 and 1."""
        return np.ascontiguousarray(self._game.state().transpose(2, 0, 1), dtype=np.uint8)

    def act(self, action):
        """One step."""
        reward, ended = self._game.act(self._actions[action])
        self._score += reward
        if not ended:
            return float(reward), False, None
        score, self._score = self._score, 0.0
        self._game.reset()
        return float(reward), True, float(score)


class Atari:
    """A game of the Atari 2600."""

    frames, shape = 4, (4, SIDE, SIDE)

    def __init__(self, game: str, seed: int, testing: bool):
        from ale_py import ALEInterface, LoggerMode

        ALEInterface.setLoggerMode(LoggerMode.Error)  # else it prints a banner
        self._ale, self._random, self._testing = ALEInterface(), np.random.default_rng(seed), testing
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("random_seed", seed % 2**31)
        self._ale.loadROM(rom(game))
        self._actions = self._ale.getMinimalActionSet()
        self.actions = len(self._actions)
        screens = np.zeros((2, *self._ale.getScreenDims()), np.uint8)
        self._screens, (self._rows, self._columns) = screens, map(_area, screens.shape[1:])
        self._stack = np.zeros(self.shape, np.uint8)
        self._begin()

    def see(self):
        """uint8 [4, 84, 84]."""
        return self._stack.copy()

    def act(self, action):
        """Four frames, or fewer where the game ends."""
        gained, ale, choice = 0.0, self._ale, self._actions[action]
        for frame in range(SKIP):
            gained += ale.act(choice)
            if frame >= SKIP - 2:
                ale.getScreenGrayscale(self._screens[frame % 2])
            if ale.game_over():
                break
        self._score, self._steps = self._score + gained, self._steps + 1
        over, lives = ale.game_over() or self._steps == LONGEST, ale.lives()
        died, self._lives = lives < self._lives and not self._testing, lives
        score = self._score if over else None
        if over:
            self._begin()
        else:
            self._look(anew=died)
        return (gained if self._testing else float(np.sign(gained))), over or died, score

    def _begin(self):
        self._ale.reset_game()
        for _ in range(self._random.integers(1, NO_OPS + 1)):
            self._ale.act(0)
            if self._ale.game_over():
                self._ale.reset_game()
        self._lives, self._score, self._steps = self._ale.lives(), 0.0, 0
        self._ale.getScreenGrayscale(self._screens[0])
        self._screens[1] = self._screens[0]
        self._look(anew=True)

    def _look(self, anew):
        """The newest frame joins the stack, of which nothing else is left at an episode's start."""
        screen = np.maximum(*self._screens).astype(np.float32)
        small = self._rows @ screen @ self._columns.T
        self._stack[:-1] = 0 if anew else self._stack[1:]
        self._stack[-1] = small + 0.5  # to the nearest


@lru_cache
def _area(size: int) -> np.ndarray:
    """float32 [84, size]: what each pixel of the smaller picture takes of each one of the larger: its share of the
    area."""
    step = size / SIDE
    low = np.arange(SIDE)[:, None] * step
    pixel = np.arange(size)[None]
    covered = np.minimum(low + step, pixel + 1) - np.maximum(low, pixel)
    return (covered.clip(0) / step).astype(np.float32)
