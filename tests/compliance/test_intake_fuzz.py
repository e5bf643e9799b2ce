"""Do malformed documents leave no trace, and valid ones enter? The quick mode of benchmarks/intake_fuzz.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("intake_fuzz", BENCHMARKS / "intake_fuzz.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "intake_fuzz", module)
    spec.loader.exec_module(module)
    return module


def test_500_malformed_documents_and_their_valid_originals(fuzz: ModuleType, tmp_path: Path) -> None:
    result = fuzz.fuzz(500, 7, tmp_path, entering=20)
    assert result.good, result.examples
    assert result.valid_accepted == 500 and len(result.by_mutation) > 60


def test_the_fuzz_would_notice_what_is_accepted(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "mutations_for", lambda sample: {"none": lambda draw, sample, now: sample.content()})
    result = fuzz.fuzz(3, 1, tmp_path, entering=1)
    assert result.accepted == 3 and result.head_moved and not result.good


def test_the_fuzz_would_notice_a_crash(fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines import intake

    whole = intake.read_documents

    def fail(name: str, content: bytes, **more: Any) -> Any:
        if content == b"crash":
            raise ValueError("from within")
        return whole(name, content, **more)

    monkeypatch.setattr(intake, "read_documents", fail)
    monkeypatch.setattr(fuzz, "mutations_for", lambda sample: {"crash": lambda draw, sample, now: b"crash"})
    result = fuzz.fuzz(2, 1, tmp_path, entering=1)
    assert result.crashes == 2 and result.valid_accepted == 2 and not result.good
