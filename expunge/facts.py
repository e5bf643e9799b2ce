"""Two plain values that flow between stages: a set of facts, and a finished page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Facts:
    """JSON values under one title. Holds opaque ids, counts and hashes; never features, identities or record ids."""

    title: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """A self-contained static HTML page with the numbers it shows; `attachments` are other pages, by file name."""

    title: str
    html: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    attachments: Mapping[str, str] = field(default_factory=dict)
