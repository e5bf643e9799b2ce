"""Are these bytes the one way to write their value? Canonical JSON, read strictly.

UTF-8, object keys sorted by code point, no white space, no NaN, no key twice.
"""

from __future__ import annotations

import json
from typing import Any


class Malformed(ValueError):
    """Bytes that are not what they should be."""


def canonical_json(value: Any) -> bytes:
    """Canonical bytes of a value that came out of `read_canonical`."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def read_canonical(content: bytes) -> Any:
    """The value of canonical JSON bytes. Raises Malformed unless writing the value again gives the same bytes."""
    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse)
        same = canonical_json(value) == content
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not readable as JSON ({type(error).__name__})") from error
    if not same:
        raise Malformed("not in canonical form: something was changed, if only white space")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a key appears twice")
    return found


def _refuse(text: str) -> Any:
    raise Malformed(f"{text} is not JSON")
