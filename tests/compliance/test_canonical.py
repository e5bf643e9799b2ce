"""The same value is always the same bytes, in the ledger and in the verifier."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.compliance import canonical
from expunge.compliance.verify import canonical as verify_canonical
from expunge.errors import UsageError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
@settings(max_examples=150, deadline=None)
def test_both_copies_of_canonical_json_agree(value: Any) -> None:
    try:
        content = canonical.canonical_json(value)
    except UsageError:
        with pytest.raises(ValueError):
            verify_canonical.canonical_json(value)
        return
    assert verify_canonical.canonical_json(value) == content
    assert canonical.canonical_json(verify_canonical.read_canonical(content)) == content


@pytest.mark.parametrize(
    "content", [b'{"a":1,"a":1}', b"NaN", b'{"b":1,"a":1}', b"[1, 2]", b'"\\u0041"', b"\xff", b"1.50"]
)
def test_bytes_that_are_not_canonical_are_refused(content: bytes) -> None:
    with pytest.raises(verify_canonical.Malformed):
        verify_canonical.read_canonical(content)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: "a"}, {"a": object()}, "\ud800", {"a": [{2: 3}]}])
def test_values_without_canonical_bytes_are_refused(value: Any) -> None:
    with pytest.raises(UsageError):
        canonical.canonical_json(value)
