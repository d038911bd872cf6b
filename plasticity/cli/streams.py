"""What a command's standard streams may be without costing its result: closed, of any encoding, full, read no more."""

import os
import select
import sys
from collections.abc import Callable

READER_GONE = 141  # 128 + SIGPIPE, as a shell reports it


def guarded(command: Callable[..., int], *arguments) -> int:
    """What a command returns; `READER_GONE`, without a word, where the reader of its output has left (``| head``)."""
    _open_closed()
    take_any_text()
    try:
        return command(*arguments)
    except BrokenPipeError as error:
        if any(map(_reader_gone, (1, 2))):
            return READER_GONE
        print(f"error: {error}", file=sys.stderr)  # it was another pipe
        return 1
    finally:
        _empty(sys.stdout)
        _empty(sys.stderr)


def take_any_text() -> None:
    """Have what an encoding lacks (ASCII, latin-1) printed as an escape such as ``\\xb1``, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not in a kernel, which takes all
            stream.reconfigure(errors="backslashreplace")


def _open_closed() -> None:
    """Put nothing in place of closed streams (``>&-``): else the next file that is opened would be one of them."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))


def _reader_gone(handle: int) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _empty(stream) -> None:
    """Write what is left to be written; where that can't be, to nothing, so that Python can end in peace."""
    try:
        stream.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
