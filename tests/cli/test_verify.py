"""Does one changed byte make `expunge verify` fail, with exit code 5 and the name of what changed?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")
HARD, EASY = "demo-hard-contributor", "demo-easy-person"


def _model_file(demo: Any) -> Path:
    promoted = [a for a in demo.house.artifacts("model") if demo.version in str(a["facts"].get("model_version"))]
    return Path(promoted[0]["uri"] / "model.safetensors")


@pytest.mark.parametrize("request_id", [HARD, EASY])
def test_both_certificates_verify(demo: Any, request_id: str) -> None:
    verified = demo.house.run("verify", demo.certificate(request_id), named=False)
    assert "VERIFIED" in verified.out and "FAILED" not in verified.out
    found = demo.house.run("verify", demo.certificate(request_id), "--json", named=False).json()
    assert found["ok"] and all(check["status"] == "passed" for check in found["checks"])


def test_a_changed_certificate(demo: Any, changed: Any) -> None:
    with changed(demo.certificate(HARD)) as path:
        refused = demo.house.run("verify", path, code=5)
        assert str(path) in refused.out and "NOT VERIFIED" in refused.out
        assert demo.house.run("verify", path, "--json", code=5).json()["ok"] is False
    demo.house.run("verify", demo.certificate(HARD))


def test_a_changed_model(demo: Any, changed: Any) -> None:
    with changed(_model_file(demo)) as path:
        refused = demo.house.run("verify", demo.certificate(EASY), code=5)
        assert str(path) in refused.out
        named = demo.house.run("verify", demo.certificate(EASY), "--model", path, code=5)
        assert str(path) in named.out
    demo.house.run("verify", demo.certificate(EASY), "--model", _model_file(demo))


def test_a_changed_report(demo: Any, changed: Any) -> None:
    with changed(demo.house.state / "reports" / f"{demo.version}.html") as path:
        assert str(path) in demo.house.run("verify", demo.certificate(HARD), code=5).out


def test_a_certificate_of_another_project_s_making(demo: Any, tmp_path: Path) -> None:
    alone = tmp_path / "somewhere.json"
    alone.write_bytes(demo.certificate(HARD).read_bytes())
    key = demo.house.state / "keys" / "certificate.pub.pem"
    verified = demo.house.run("verify", alone, "--key", key)
    assert "VERIFIED" in verified.out and "not checked" in verified.out.lower()


def test_an_unknown_certificate(demo: Any) -> None:
    refused = demo.house.run("verify", "nowhere.certificate.json", code=3)
    assert "nowhere.certificate.json" in refused.out
    assert demo.house.run("verify", "nowhere.certificate.json", "--json", code=3).json()["exit_code"] == 3
