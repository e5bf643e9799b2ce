"""What the ledger adds to a certificate: notices and the clock; and words that claim no more than the evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from conftest import START, Case, Clock

from expunge.compliance import pack
from expunge.compliance.canonical import canonical_json, finite
from expunge.compliance.certificate import build_statement, load_or_create_signing_key, sign, write_certificate
from expunge.compliance.ledger import Ledger
from expunge.compliance.predicate import checked_predicate
from expunge.compliance.verify import verify_certificate
from expunge.compliance.verify.command import describe
from expunge.errors import UsageError

BOUND = {"epsilon": 1.0, "delta": 1e-5, "constants": {"kappa": 0.9}, "assumptions": ["The head alone is certified."]}


def test_notices_are_those_of_the_row_and_of_events_without_free_text(
    ledger: Ledger, add: Callable[..., Any], clock: Clock
) -> None:
    add("q1", "r1", regulation="ccpa")
    (only,) = pack.notices(ledger, ledger.get_request("q1"))
    assert only["kind"].startswith("acknowledgement") and only["by"] > "2026-03-02"
    clock.forward(days=1)
    ledger.move("q1", "identity_unverified")
    clock.forward(days=2)
    ledger.move("q1", "accepted")
    clock.forward(days=1)
    ledger.extend("q1", "Ada's boxes were under water", clock.now)
    ledger.append_event("notice.sent", {"what": "delay"}, request_id="q1")
    found = pack.notices(ledger, ledger.get_request("q1"))
    kinds = [one["kind"] for one in found]
    assert kinds.index("identity.requested") < kinds.index("identity.confirmed") < kinds.index("extension")
    assert {only["kind"], "notice.sent"} < set(kinds) and "water" not in json.dumps(found)
    extension = next(one for one in found if one["kind"] == "extension")
    assert extension["extended_to"] > extension["from"]
    assert extension["at"] == (START + timedelta(days=4)).isoformat(timespec="microseconds")
    part = pack.request_part(ledger.get_request("q1"))
    assert part["due_at"] == extension["extended_to"] > part["first_due_at"] and part["due_rule"]


def test_weaker_evidence_has_weaker_words() -> None:
    words = {level: pack.guarantee_words("empirical", level) for level in ("oracle", "pool", "oracle-free")}
    assert words["pool"].startswith("Weaker evidence") and words["oracle-free"].startswith("The weakest evidence")
    assert "eaker" not in words["oracle"] and "nothing is proven" in words["oracle"]
    assert "by construction" in pack.guarantee_words("exact", "oracle-free")
    assert "(1, 1e-05)" in pack.guarantee_words("certified", "oracle", BOUND)


@pytest.mark.parametrize("level", ["oracle", "pool", "oracle-free"])
def test_the_verifier_says_so_too_whatever_the_certificate_says(case: Case, level: str) -> None:
    boast = {"guarantee_words": "It is certain.", "evidence_level": level}
    statement = build_statement(case.statement["subject"], {**case.statement["predicate"], **boast})
    key = load_or_create_signing_key(case.state / "keys" / "certificate.pem")
    write_certificate(case.certificate, sign(statement, key))
    case.ledger.unlink()
    said = describe(verify_certificate(case.certificate))
    assert ("which is the weakest evidence" in said) == (level == "oracle-free")
    assert ("which is weaker evidence" in said) == (level == "pool")
    assert ("the weakest: no model to compare with" in said) == (level == "oracle-free")


def test_certified_needs_its_bound_and_nothing_else_has_one(case: Case) -> None:
    predicate = case.statement["predicate"]
    assert checked_predicate({**predicate, "guarantee": "certified", "bound": BOUND})["bound"] == BOUND
    for wrong in ({"guarantee": "certified"}, {"bound": BOUND}):
        with pytest.raises(UsageError, match="bound"):
            checked_predicate({**predicate, **wrong})
    for lacking in BOUND:
        with pytest.raises(UsageError, match=lacking):
            less = {name: value for name, value in BOUND.items() if name != lacking}
            checked_predicate({**predicate, "guarantee": "certified", "bound": less})
    key = load_or_create_signing_key(case.state / "keys" / "certificate.pem")
    case.ledger.unlink()
    for bound, code in ((BOUND, 0), (None, 5), ({"epsilon": 1}, 5)):
        unchecked = {**case.statement, "predicate": {**predicate, "guarantee": "certified", "bound": bound}}
        write_certificate(case.certificate, sign(unchecked, key))
        assert verify_certificate(case.certificate).exit_code == code
    write_certificate(case.certificate, sign({**unchecked, "predicate": {**predicate, "guarantee": "certified",
                                              "bound": BOUND}}, key))  # fmt: skip
    assert "certified(1, 1e-05)" in describe(verify_certificate(case.certificate))


def test_what_has_no_value_is_null() -> None:
    measured = {"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": (-float("inf"), "x", None)}}
    assert finite(measured) == {"a": None, "b": [1.5, None], "c": {"d": [None, "x", None]}}
    canonical_json(finite(measured))
    with pytest.raises(UsageError):
        canonical_json(measured)
