"""What is the outcome of a verification? Its checks, what follows from them and what stays open, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OK, USAGE, NOT_FOUND, INTEGRITY = 0, 2, 3, 5
PASSED, FAILED, SKIPPED = "passed", "failed", "not checked"


@dataclass(frozen=True)
class Check:
    """One check: passed, failed or not checked, and why."""

    name: str
    status: str
    words: str


@dataclass
class Verification:
    """The outcome.

    `exit_code`: 0 nothing failed, 5 something does not match, 3 a named file is missing, 2 wrong usage.
    """

    path: str
    checks: list[Check] = field(default_factory=list)
    proves: list[str] = field(default_factory=list)
    does_not_prove: list[str] = field(default_factory=list)
    statement: dict[str, Any] | None = None
    exit_code: int = OK

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.exit_code == OK

    @property
    def failures(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.status == FAILED]

    def passed(self, name: str, words: str, proves: str = "") -> None:
        """Note a check that passed, and what follows from it."""
        self.checks.append(Check(name, PASSED, words))
        if proves:
            self.proves.append(proves)

    def failed(self, name: str, words: str, exit_code: int = INTEGRITY) -> None:
        """Note a check that failed; the first failure gives the exit code, an integrity failure before all others."""
        self.checks.append(Check(name, FAILED, words))
        if self.exit_code == OK or exit_code == INTEGRITY:
            self.exit_code = exit_code

    def skipped(self, name: str, words: str, does_not_prove: str) -> None:
        """Note a check that could not be made, and what therefore stays open."""
        self.checks.append(Check(name, SKIPPED, words))
        self.does_not_prove.append(does_not_prove)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "certificate": self.path,
            "ok": self.ok,
            "exit_code": self.exit_code,
            "checks": [vars(check) for check in self.checks],
            "proves": self.proves,
            "does_not_prove": self.does_not_prove,
        }
