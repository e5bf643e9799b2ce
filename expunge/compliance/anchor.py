"""How is the ledger's head written down elsewhere, so that a cut-off or rewritten chain shows?

One line of canonical JSON for each head, appended to a file on other media: `{"at", "hash", "key_id", "ledger_id",
"seq"}`. `verify.anchors` holds the ledger against it.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from expunge.compliance.canonical import canonical_json
from expunge.compliance.ledger import Ledger
from expunge.compliance.moments import to_text
from expunge.compliance.verify.envelope import key_id, read_public_key
from expunge.errors import UsageError


def head_line(ledger: Ledger, public_key: Path, now: datetime) -> dict[str, Any]:
    """The ledger's head as an anchor has it; `key_id` is empty before there is a signing key."""
    head = ledger.head()
    signer = key_id(read_public_key(public_key)) if public_key.is_file() else ""
    return {
        "at": to_text(now), "hash": head.hash, "key_id": signer, "ledger_id": ledger.ledger_id, "seq": head.seq
    }  # fmt: skip


def append_anchor(path: Path, line: dict[str, Any]) -> None:
    """Add a head to an anchor file; on the disk when this returns. Raises UsageError if it cannot be written."""
    try:
        with path.open("ab") as file:
            file.write(canonical_json(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}.", "Check the path.") from error
