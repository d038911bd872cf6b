"""How a record lies on the disk: its checksum and its head. Standard library only."""

import hashlib
import json


def is_whole(content: bytes) -> bool:
    """Whether a record's text matches the checksum on its first line."""
    first, _, rest = content.partition(b"\n")
    return first == b'{"sha256": "%s",' % hashlib.sha256(b"\n" + rest).hexdigest().encode()


def head(content: bytes) -> dict | None:
    """The head of a record (schema, status, seconds, source), or None if the text is no whole record."""
    try:
        if is_whole(content):
            return json.loads(content.split(b"\n", 2)[1].strip(b",").removeprefix(b'"head": '))
        record = json.loads(content)  # of the first schema, all on one line
        body = json.dumps({k: v for k, v in record.items() if k != "sha256"}, sort_keys=True)
        return record if record["sha256"] == hashlib.sha256(body.encode()).hexdigest() else None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
