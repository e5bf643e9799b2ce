"""Is every change to a certificate, a model, a report or a key found, and named? And a key's rotation no change?"""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from conftest import sha256
from whole_state import MODEL, Whole, answer_one_more, certify, flipped, make_state, open_ledger

from expunge.compliance.certificate import load_or_create_signing_key, rotate_signing_key, sign, write_certificate
from expunge.compliance.verify.command import describe_all, main


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_state(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def whole(template: Path, tmp_path: Path) -> Whole:
    return Whole(Path(shutil.copytree(template, tmp_path / "state")))


def test_a_changed_file_of_any_kind_is_named(whole: Whole) -> None:
    """Certificates, model, report, public key: a byte in many places, the whole file gone, another in its place."""
    files = [whole.certificate("q1"), whole.certificate("q2"), *(whole.state / n for n in (
        "models/model.safetensors", "reports/q1.html", "keys/certificate.pub.pem"))]  # fmt: skip
    for path in files:
        before = path.read_bytes()
        for index in range(0, len(before), max(1, len(before) // 40)):
            flipped(path, index)
            done = whole.check()
            assert done.exit_code == 5 and str(path) in describe_all(done), (path, index)
            path.write_bytes(before)
        for more in (b"\n", b" "):
            path.write_bytes(before + more)
            assert whole.check().exit_code == 5 and str(path) in whole.words(), (path, more)
        path.unlink()
        done = whole.check()
        assert done.exit_code in ((3,) if path.suffix == ".pem" else (5,)) and str(path) in describe_all(done), path
        path.write_bytes(before)
    assert whole.check().exit_code == 0


def test_certificates_that_take_one_anothers_place_are_named(whole: Whole) -> None:
    first, second = (whole.certificate(name).read_bytes() for name in ("q1", "q2"))
    whole.certificate("q1").write_bytes(second)
    assert "another one stands in its place" in whole.words() and whole.check().exit_code == 5
    whole.certificate("q1").write_bytes(first)
    whole.certificate("stranger").write_bytes(first)
    assert "stranger.certificate.json is not on record" in whole.words() and whole.check().exit_code == 5


def test_an_interim_certificate_put_back_in_the_place_of_the_final_one_is_named(whole: Whole) -> None:
    answer_one_more(whole, interim=True)
    interim = whole.certificate("q4").read_bytes()
    with open_ledger(whole.state) as ledger:
        certify(ledger, whole.state, "q4")
    assert whole.check().exit_code == 0
    whole.certificate("q4").write_bytes(interim)
    assert whole.check().exit_code == 5 and "another one stands in its place" in whole.words()


def test_a_model_may_be_missing_only_by_a_tombstone(whole: Whole) -> None:
    model = whole.state / "models" / "model.safetensors"
    model.unlink()
    assert "no tombstone says that it was destroyed" in whole.words()
    with open_ledger(whole.state) as ledger:
        stone = {"kind": "model", "name": "2", "status": "destroyed", "method": "unlink"}
        ledger.add_tombstones([{**stone, "content_hash": sha256(MODEL), "run_id": "run-2"}])
    assert whole.check().exit_code == 0 and "by the ledger's tombstones" in whole.words()


def test_after_a_rotation_old_and_new_certificates_verify_and_an_unknown_key_is_named(whole: Whole) -> None:
    key = whole.state / "keys" / "certificate.pem"
    rotate_signing_key(key)
    answer_one_more(whole)
    done = whole.check()
    signers = {Path(one.path).name[:2]: one.checks[0].words for one in done.certificates if one.statement}
    assert done.exit_code == 0
    assert "a retired one" in signers["q1"] and "a retired one" not in signers["q4"]
    (retired,) = key.parent.glob("certificate.*.pub.pem")
    before = retired.read_bytes()
    flipped(retired, 60)
    assert whole.check().exit_code == 5 and str(retired) in whole.words()
    retired.unlink()
    assert "q1.certificate.json is not signed by" in whole.words() and whole.check().exit_code == 5
    retired.write_bytes(before)
    stranger = load_or_create_signing_key(whole.state.parent / "stranger" / "key.pem")
    statement = json.loads(base64.b64decode(json.loads(whole.certificate("q1").read_bytes())["payload"]))
    write_certificate(whole.certificate("q1"), sign(statement, stranger))
    assert "unknown key" in whole.words() and "q1.certificate.json" in whole.words()


def test_the_stand_alone_command_takes_a_whole_state(whole: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--all", "--state", str(whole.state)]) == 0
    assert capsys.readouterr().out.endswith("VERIFIED: the ledger and 3 certificates\n")
    assert main(["--all", "--state", str(whole.state), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and len(told["certificates"]) == 3
    flipped(whole.certificate("q1"), 50)
    assert main(["--all", "--state", str(whole.state)]) == 5
    assert "NOT VERIFIED: 1 of 3 certificates" in capsys.readouterr().out
    for wrong in (["--all"], ["--all", "x", "--state", "y"], [], ["x", "--anchor", "y"]):
        with pytest.raises(SystemExit) as usage:
            main(wrong)
        assert usage.value.code == 2
