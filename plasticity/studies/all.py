"""All runs of a profile, its studies' included."""

from collections.abc import Iterable

from .. import profiles
from ..networks.table import architecture
from ..profiles import Profile
from ..run import Run
from .companions import runs as companions
from .rl import runs as rl
from .sensitivity import runs as sensitivity


def grid(
    profile: Profile, architectures: Iterable[str] | None = None, cases: Iterable[str] | None = None
) -> tuple[Run, ...]:
    """All runs of a profile, its studies' included (of some architectures, families or cases of it), each once.
    ValueError for an architecture or family that the profile does not have."""
    if profile.name in sensitivity.NAMES.values():
        runs = sensitivity.grid(profile)
    elif profile.name in companions.COMPANION.values():
        runs = companions.grid(profile)
    elif profile.name in rl.NAMES.values():
        runs = rl.grid(profile)
    else:
        return profiles.grid(profile, architectures, cases)
    names = {run: {run.architecture, architecture(run.architecture).family} for run in runs}
    wanted, known = set(architectures or ()), set().union(*names.values())
    if unknown := wanted - known:
        raise ValueError(
            f"profile {profile.name!r} has no architecture {sorted(unknown)[0]!r}; it has: {', '.join(sorted(known))}"
        )
    return tuple(run for run in runs if (not wanted or wanted & names[run]) and (cases is None or run.case in cases))
