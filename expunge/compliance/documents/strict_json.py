"""How is JSON read so that it can mean one thing only? No doubled key, no NaN, no number beyond counting, no half
character, no nesting that exhausts a parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from expunge.compliance.documents.incoming import Wrong

MAX_DEPTH = 16
MAX_DIGITS = 18
_TOKEN = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


class _Doubled(dict[str, Any]):
    """An object in which a key appears twice."""


class _Unusable:
    """A number that is none, or is beyond counting."""


def parse(text: str) -> Any:
    """The value of a JSON text. Raises Wrong if it is none. What `problems` lists is still in it."""
    _refuse_depth(text)
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=lambda name: _Unusable(),
            parse_int=_integer,
            parse_float=_real,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise Wrong(f"is not JSON ({error.msg}, {where}).", "Check that the file is whole.") from error
    except RecursionError as error:
        raise Wrong("is nested too deeply.", "Check the file.") from error


def problems(value: Any) -> Iterator[Wrong]:
    """What makes a parsed value ambiguous or unusable, wherever in it."""
    if isinstance(value, _Doubled):
        yield Wrong("gives a field twice.", "Give each field once: it cannot be known which one counts.")
    if isinstance(value, _Unusable):
        yield Wrong("holds a number that is not finite or too long.", "Check the file.")
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        yield Wrong("holds half a character (a lone surrogate).", "Check the encoding of its source.")
    if isinstance(value, dict):
        for key, child in value.items():
            yield from problems(key)
            yield from problems(child)
    elif isinstance(value, list):
        for child in value:
            yield from problems(child)


def _refuse_depth(text: str) -> None:
    """One pass over brackets and quotes: no parser is called on what could exhaust it."""
    depth, quoted = 0, False
    for token in _TOKEN.finditer(text):
        found = token.group()
        if found == '"':
            quoted = not quoted
        elif not quoted and found in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Wrong(f"is nested more than {MAX_DEPTH} deep.", "Check the file.")
        elif not quoted and found in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else _Doubled(made)


def _integer(digits: str) -> Any:
    return int(digits) if len(digits) <= MAX_DIGITS else _Unusable()


def _real(digits: str) -> Any:
    value = float(digits)
    return value if value - value == 0 and len(digits) <= 2 * MAX_DIGITS else _Unusable()
