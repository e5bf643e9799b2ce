"""What does the verifier's command line take, and what does it print?

Exit codes: 0 nothing failed, 2 wrong usage, 3 a file is missing, 5 something was changed or does not match.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from .check import Verification, verify_certificate


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify one certificate, print the outcome, return the exit code."""
    parser = argparse.ArgumentParser(prog="verify", description="Check an erasure certificate from the files alone.")
    parser.add_argument("certificate", help="the certificate file")
    parser.add_argument(
        "--key", help="the issuer's public key (PEM); default: keys/certificate.pub.pem in the state folder"
    )
    parser.add_argument("--model", help="the model file to compare with the certificate")
    parser.add_argument(
        "--ledger", help="the ledger (SQLite) or an export of its chain; default: ledger.db in the state folder"
    )
    parser.add_argument("--state", help="the state folder; default: the parent of the certificates folder")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    given = parser.parse_args(arguments)
    result = verify_certificate(
        given.certificate, public_key=given.key, model=given.model, ledger=given.ledger, state_dir=given.state
    )
    text = json.dumps(result.to_dict(), indent=2) if given.json else describe(result)
    sys.stdout.write(text + "\n")
    return result.exit_code


def describe(result: Verification) -> str:
    """The outcome in words."""
    lines = [f"{check.status.upper():<12}{check.name}: {check.words}" for check in result.checks]
    if result.statement is not None:
        lines += ["", *_summary(result.statement["predicate"])]
    for title, sentences in (("It proves:", result.proves), ("It does not prove:", result.does_not_prove)):
        if sentences and result.ok:
            lines += ["", title, *(f"  - {sentence}" for sentence in sentences)]
    lines += ["", "VERIFIED" if result.ok else f"NOT VERIFIED: {result.path}"]
    return "\n".join(lines)


def _summary(predicate: dict[str, Any]) -> list[str]:
    """What the certificate itself says, for a reader who has not opened it."""
    destroyed = sum(one.get("action") == "destroyed" for one in predicate["artifacts"] if isinstance(one, dict))
    kept = len(predicate["artifacts"]) - destroyed
    return [
        f"Request {predicate['request']['id']} ({predicate['request']['regulation']}), "
        f"received {predicate['request']['received_at']}, due {predicate['request']['due_at']}",
        f"Records: {predicate['scope']['count']}; model {predicate['model']['name']} {predicate['model']['version']}",
        f"Guarantee: {predicate['guarantee']}; evidence: {predicate['evidence_level']}; "
        f"{'interim' if predicate['interim'] else 'final'}, issued {predicate['issued_at']}",
        f"Gate {'passed' if predicate['verdict']['passed'] else 'FAILED'}: {predicate['verdict']['words']}",
        f"Descendants: {destroyed} destroyed, {kept} kept",
        *(f"Limit: {sentence}" for sentence in predicate["limits"]),
    ]
