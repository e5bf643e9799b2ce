"""How is a value written so that the same value is always the same bytes?

Canonical JSON here: UTF-8, object keys sorted by code point, no white space, no NaN or infinity, text unescaped
except where JSON demands it, numbers as Python's `repr` writes them. `verify.canonical` keeps its own copy; a test
holds the two together.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from expunge.errors import UsageError


def canonical_json(value: Any) -> bytes:
    """Canonical bytes of a JSON value (dict with text keys, list or tuple, str, int, float, bool, None).

    Raises UsageError for what JSON cannot carry faithfully: NaN, infinity, other types, keys that are not text, lone
    surrogates.
    """
    try:
        _refuse_other_keys(value)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"This value cannot be written as canonical JSON: {error}.",
            "Use text, finite numbers, lists and objects with text keys; write a missing number as null.",
        ) from error


def canonical_text(value: Any) -> str:
    """`canonical_json` as text, for a database column."""
    return canonical_json(value).decode("utf-8")


def finite(value: Any) -> Any:
    """The same JSON value with null in place of numbers that JSON cannot carry: what was measured and has no value."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(child) for name, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(child) for child in value]
    return value


def sha256_of(value: Any) -> str:
    """Hex SHA-256 of the canonical bytes of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _refuse_other_keys(value: Any) -> None:
    """json.dumps would quietly turn a key 1 into "1", and two different values would get the same bytes."""
    if isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str):
                raise UsageError(f"The key {key!r} is not text.", "Write the keys of an object as text.")
            _refuse_other_keys(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            _refuse_other_keys(child)
