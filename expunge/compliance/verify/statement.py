"""Is the signed payload an erasure statement, with every field that a reader relies on?"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from .canonical import Malformed, read_canonical

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://expunge.dev/erasure/v1"
SCHEMA = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "claim": str,
    "issued_at": str,
    "interim": bool,
    "request": dict,
    "request.id": str,
    "request.regulation": str,
    "request.received_at": str,
    "request.due_at": str,
    "scope": dict,
    "scope.record_pseudonyms": list,
    "scope.count": int,
    "data_version": dict,
    "plan": dict,
    "spent": dict,
    "run": dict,
    "evidence": list,
    "evidence_level": str,
    "verdict": dict,
    "verdict.passed": bool,
    "verdict.words": str,
    "guarantee": str,
    "drift": dict,
    "model": dict,
    "model.name": str,
    "model.version": str,
    "model.sha256": str,
    "artifacts": list,
    "rescan": dict,
    "approvals": list,
    "notices": list,
    "limits": list,
    "ledger": dict,
    "ledger.head_hash": str,
    "ledger.seq": int,
}


def read_statement(payload: bytes) -> dict[str, Any]:
    """The statement of a payload. Raises Malformed naming the first field that is missing or of the wrong kind."""
    statement = read_canonical(payload)
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise Malformed(f"the payload is not an in-toto statement ({STATEMENT_TYPE})")
    if statement.get("predicateType") != PREDICATE_TYPE:
        raise Malformed(f"the payload is not an erasure statement ({PREDICATE_TYPE})")
    predicate = statement.get("predicate")
    if not isinstance(predicate, dict) or predicate.get("schema_version") != SCHEMA:
        raise Malformed(f"the predicate is not of version {SCHEMA}; use the verifier of the program that wrote it")
    for name, kind in _FIELDS.items():
        value: Any = predicate
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Malformed(f"the predicate's {name} is missing or of the wrong kind")
    if predicate["guarantee"] not in ("exact", "certified", "empirical"):
        raise Malformed("the guarantee is none of exact, certified and empirical")
    bound = predicate.get("bound")
    if predicate["guarantee"] == "certified" and not (
        isinstance(bound, dict) and all(isinstance(bound.get(name), (int, float)) for name in ("epsilon", "delta"))
    ):
        raise Malformed("the guarantee is certified without a bound")
    if predicate["scope"]["count"] != len(set(map(str, predicate["scope"]["record_pseudonyms"]))):
        raise Malformed("the number of records is not the number of pseudonyms")
    digests = [_digest(subject) for subject in statement.get("subject") or []]
    if predicate["model"]["sha256"] not in digests:
        raise Malformed("the model's digest is not among the subjects of the statement")
    for part in ("model", "report"):
        _check_path(predicate.get(part), part)
    return statement


def _digest(subject: Any) -> str:
    found = subject.get("digest") if isinstance(subject, dict) else None
    value = found.get("sha256") if isinstance(found, dict) else None
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise Malformed("a subject has no SHA-256")
    return value


def _check_path(part: Any, name: str) -> None:
    if part is None:
        return
    if not isinstance(part, dict) or not isinstance(part.get("sha256"), str):
        raise Malformed(f"the {name} has no SHA-256")
    path = part.get("path")
    if path is None:
        return
    if not isinstance(path, str) or "\0" in path or not path:
        raise Malformed(f"the {name}'s path is not a path")
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise Malformed(f"the {name}'s path leads out of the state folder")
