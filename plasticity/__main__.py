"""The one command line: ``plasticity COMMAND``, or ``python -m plasticity COMMAND``. Each is a module of ``cli``, which
is imported only when it is asked for, so that `status` answers at once."""

import sys
from importlib import import_module

from .cli import surroundings
from .cli.hints import lacking
from .cli.streams import guarded

COMMANDS = {
    "status": "how far a profile is: done, running, missing, failed, lost, stale; --watch refreshes",
    "plan": "what a profile costs, before anything is spent",
    "run": "do a profile's runs that are not recorded yet, without the notebooks",
    "reproduce": "execute a profile's notebooks that are out of date, which does the runs",
    "prepare": "pack a data set of the papers, from a folder or archive of its raw files",
    "execute": "execute one notebook strictly: it exists under its new name only if it ran to its end",
    "audit": "which numbers of runs and of test items fit a table of published results",
    "own": "base against 10M with your own network on your own images",
    "site": "a static site of a profile's executed notebooks",
    "doctor": "the device, the packages, the data and weights, the runs, and what to do next",
}


def build_parser(chosen: str = ""):
    """An argparse.ArgumentParser of all commands, and of the arguments of the chosen one."""
    import argparse  # here: what lies in the working folder has been looked at

    parser = argparse.ArgumentParser(
        "plasticity", epilog="`plasticity COMMAND --help` gives its arguments and an example."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == chosen:
            module = import_module(f".cli.{name}", __package__)
            command.description = module.__doc__
            module.arguments(command)
            command.set_defaults(module=module)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Exit 0 when done, 1 if something could not be done, 2 for a wrong argument, 130 if interrupted, 141 if nobody
    reads on."""
    return guarded(_run, sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> int:
    if surroundings.refused():
        return 2
    options = build_parser(*arguments[:1]).parse_args(arguments or ["--help"])
    try:
        code = options.module.main(options) or 0
        sys.stdout.flush()  # here, where an error can still be said
        return code
    except ModuleNotFoundError as error:
        said, code = lacking(f"plasticity {options.command}", error), 1
    except BrokenPipeError:
        raise
    except getattr(options.module, "REFUSED", ValueError) as error:
        said, code = error, 2
    except (OSError, RuntimeError, ImportError) as error:
        said, code = error, 1
    except KeyboardInterrupt:
        return 130
    print(f"error: {said}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
