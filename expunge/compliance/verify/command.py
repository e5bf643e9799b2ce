"""What does the verifier's command line take, and what does it print?

Exit codes: 0 nothing failed, 2 wrong usage, 3 a file is missing, 5 something was changed or does not match.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from .check import verify_certificate
from .everything import Everything, verify_everything
from .outcome import FAILED, PASSED, Verification


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify one certificate or all of a state folder, print the outcome, return the exit code."""
    parser = argparse.ArgumentParser(prog="verify", description="Check erasure certificates from the files alone.")
    parser.add_argument("certificate", nargs="?", help="the certificate file")
    parser.add_argument(
        "--all", action="store_true", help="every certificate that the ledger issued; needs --state, the state folder"
    )
    parser.add_argument(
        "--key", help="the issuer's public key (PEM); default: keys/certificate.pub.pem in the state folder"
    )
    parser.add_argument("--model", help="the model file to compare with the certificate")
    parser.add_argument(
        "--ledger", help="the ledger (SQLite) or an export of its chain; default: ledger.db in the state folder"
    )
    parser.add_argument("--state", help="the state folder; default: the parent of the certificates folder")
    parser.add_argument("--anchor", help="with --all: a file of ledger heads that was kept elsewhere")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    given = parser.parse_args(arguments)
    if given.all:
        if given.certificate or given.model or not given.state:
            parser.error("--all takes --state and no certificate")
        done = verify_everything(given.state, public_key=given.key, ledger=given.ledger, anchor=given.anchor)
        sys.stdout.write((json.dumps(done.to_dict(), indent=2) if given.json else describe_all(done)) + "\n")
        return done.exit_code
    if not given.certificate or given.anchor:
        parser.error("name a certificate, or give --all and --state")
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


def describe_all(done: Everything) -> str:
    """One line for the ledger and each of its checks, one for each certificate, and the sum."""
    lines = [f"{check.status.upper():<12}{check.name}: {check.words}" for check in done.ledger.checks]
    lines += [_line(one) for one in done.certificates]
    bad = sum(not one.ok for one in done.certificates)
    total = f"{len(done.certificates)} certificate{'' if len(done.certificates) == 1 else 's'}"
    if done.exit_code == 0:
        return "\n".join([*lines, "", f"VERIFIED: the ledger and {total}"])
    ledger = "the ledger and " if not done.ledger.ok else ""
    return "\n".join([*lines, "", f"NOT VERIFIED: {ledger}{bad} of {total}"])


def _line(result: Verification) -> str:
    if result.failures:
        return f"{FAILED.upper():<12}" + "; ".join(f"{check.name}: {check.words}" for check in result.failures)
    if result.statement is None:
        return f"{result.checks[0].status.upper():<12}{result.path}: {result.checks[0].words}"
    predicate = result.statement["predicate"]
    open_ = [f"{check.name} not checked ({check.words})" for check in result.checks if check.status != PASSED]
    about = f"request {predicate['request']['id']}, {_label(predicate)}{', interim' if predicate['interim'] else ''}"
    return f"{PASSED.upper():<12}{result.path}: {about}" + "".join(f"; {words}" for words in open_)


def _summary(predicate: dict[str, Any]) -> list[str]:
    """What the certificate itself says, for a reader who has not opened it."""
    destroyed = sum(one.get("action") == "destroyed" for one in predicate["artifacts"] if isinstance(one, dict))
    kept = len(predicate["artifacts"]) - destroyed
    own_words = predicate.get("guarantee_words")
    return [
        f"Request {predicate['request']['id']} ({predicate['request']['regulation']}), "
        f"received {predicate['request']['received_at']}, due {predicate['request']['due_at']}",
        f"Records: {predicate['scope']['count']}; model {predicate['model']['name']} {predicate['model']['version']}",
        f"Guarantee: {_label(predicate)}; "
        f"{'interim' if predicate['interim'] else 'final'}, issued {predicate['issued_at']}",
        *([f"In its own words: {own_words}"] if own_words else []),
        f"Gate {'passed' if predicate['verdict']['passed'] else 'FAILED'}: {predicate['verdict']['words']}",
        f"Descendants: {destroyed} destroyed, {kept} kept",
        *(f"Limit: {sentence}" for sentence in predicate["limits"]),
    ]


def _label(predicate: dict[str, Any]) -> str:
    """The guarantee, and how strong its evidence is."""
    level = predicate["evidence_level"]
    if predicate["guarantee"] == "certified":
        bound = predicate["bound"]
        return f"certified({bound['epsilon']:g}, {bound['delta']:g}); evidence: {level}"
    weaker = {"pool": " (weaker)", "oracle-free": " (the weakest: no model to compare with)"}
    return f"{predicate['guarantee']}; evidence: {level}{weaker.get(level, '')}"
