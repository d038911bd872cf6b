"""How a record lies on the disk: its checksum and its head. Standard library only."""

import hashlib
import json


def is_whole(content: bytes) -> bool:
    """Whether a record's text matches the checksum on its first line."""
    first, _, rest = content.partition(b"\n")
    return first == b'{"sha256": "%s",' % hashlib.sha256(b"\n" + rest).hexdigest().encode()


def head(content: bytes) -> dict | None:
    """The head of a record (schema, status, seconds, source), or None if the text is no whole record."""
    if not is_whole(content):
        return None
    return json.loads(content.split(b"\n", 2)[1].strip(b",").removeprefix(b'"head": '))
