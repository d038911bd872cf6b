"""Do a profile's runs that are not recorded yet, all or a part of them, without the notebooks.

Example:
    plasticity run mini --architectures vit --cases base 10M --workers 4

Exit 0 when all is recorded, 1 if some could not be done, 130 if interrupted; start again to go on.
"""

from . import options as shared
from .status import remember


def arguments(parser):
    shared.add(parser, "profile", "--results", "--data", "--repeats", "--reading", "--workers", "--device", "--engine")
    parser.add_argument("--architectures", nargs="+", help="only these, by name or family (simplenet, resnet, vit)")
    parser.add_argument("--cases", nargs="+", help="only these, such as base 10M")
    parser.add_argument(
        "--retries", type=int, default=0, help="more tries for a run that raises, before it is recorded as failed"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="quarantine the records of failed runs and try those again"
    )


def main(options) -> None:
    from ..profiles import get_profile
    from ..running import engine
    from ..studies.all import grid

    profile = get_profile(options.profile, options.repeats, options.reading)
    results = str(shared.results_of(options))
    place = engine.Place(options.data, results, options.workers, options.device, options.engine)
    runs = grid(profile, options.architectures, options.cases)
    remember(shared.results_of(options), profile, grid(profile))
    print(engine.plan(runs, place, profile.seconds_a_run).to_string(index=False), flush=True)
    engine.prepare(profile, place, {run.architecture for run in runs})
    done = engine.run_all(runs, place, options.retries, options.retry_failed)
    failed = sum(record["status"] == "failed" for record in done)
    print(f"{len(done)} of {len(runs)} runs are recorded, {failed} of them as failed: {place.runs}")
