"""Is a chain that was cut off or written anew found: by any certificate, by a head that was kept elsewhere?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import START
from whole_state import Whole, answer_one_more, behind_its_back, make_state, open_ledger, rows_of

from expunge.compliance import chain
from expunge.compliance.anchor import append_anchor, head_line
from expunge.compliance.verify import verify_everything
from expunge.compliance.verify.command import describe_all


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_state(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def whole(template: Path, tmp_path: Path) -> Whole:
    return Whole(Path(shutil.copytree(template, tmp_path / "state")))


def rewritten(ledger: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A forger's work: events changed, and the whole chain hashed anew, rows and events in accord."""
    events, previous = rows_of(ledger, "event"), chain.GENESIS
    with behind_its_back(ledger) as connection:
        connection.execute("DELETE FROM event")
        for row in events:
            row.pop("_row")
            change(row)
            row["previous_hash"] = previous
            row["hash"] = previous = chain.event_hash(row)
            connection.execute(f"INSERT INTO event VALUES ({', '.join('?' * len(row))})", list(row.values()))


def test_a_chain_that_was_written_anew_is_found_by_any_certificate(whole: Whole) -> None:
    def earlier(row: dict[str, Any]) -> None:
        row["at"] = row["at"].replace("2026", "2025") if row["seq"] == 3 else row["at"]

    rewritten(whole.ledger, earlier)
    with open_ledger(whole.state) as ledger:
        assert ledger.verify_chain().ok and ledger.verify_rows() == [], "in itself the forgery holds"
    done = whole.check()
    assert done.exit_code == 5 and done.ledger.ok
    assert "q1.certificate.json builds on, is not in the chain" in describe_all(done)


def test_the_same_without_certificates_is_found_by_a_head_kept_elsewhere(whole: Whole, tmp_path: Path) -> None:
    anchor = anchored(whole, tmp_path)
    shutil.rmtree(whole.state / "certificates")
    with behind_its_back(whole.ledger) as connection:
        connection.execute("DELETE FROM certificate")

    def no_certificate(row: dict[str, Any]) -> None:
        payload = json.loads(row["payload"])
        if row["kind"] == "certificate.issued":
            row["kind"], payload = "scan", {}
        row["payload"] = json.dumps(payload, separators=(",", ":"), sort_keys=True)

    rewritten(whole.ledger, no_certificate)
    assert whole.check().exit_code == 0, "a forger who leaves nothing to compare with is not seen"
    assert "history was rewritten" in whole.words(anchor) and whole.check(anchor).exit_code == 5


def anchored(whole: Whole, folder: Path) -> Path:
    anchor = folder / "elsewhere.jsonl"
    with open_ledger(whole.state) as ledger:
        append_anchor(anchor, head_line(ledger, whole.state / "keys" / "certificate.pub.pem", START))
    return anchor


def test_an_end_that_was_cut_off_with_its_rows_is_found_by_a_head_kept_elsewhere(whole: Whole, tmp_path: Path) -> None:
    """An older copy put in the place of the ledger: whole in itself, and a request is gone."""
    older = whole.ledger.read_bytes()
    with open_ledger(whole.state) as ledger:
        ledger.add_request("late", "eve", ["r9"], "gdpr", START)
    anchor = anchored(whole, tmp_path)
    assert whole.check(anchor).exit_code == 0
    whole.ledger.write_bytes(older)
    assert whole.check().exit_code == 0 and "nothing was cut off" in " ".join(
        sentence for one in whole.check().certificates for sentence in one.does_not_prove
    )
    assert whole.check(anchor).exit_code == 5 and "its end was cut off" in whole.words(anchor)
    with open_ledger(whole.state) as ledger:  # and grown again, to the same length
        ledger.add_request("other", "joe", ["r8"], "gdpr", START)
    assert "history was rewritten" in whole.words(anchor)


def test_the_head_file_beside_the_ledger_shows_an_older_copy(whole: Whole) -> None:
    older = whole.ledger.read_bytes()
    with open_ledger(whole.state) as ledger:
        ledger.add_request("late", "eve", ["r9"], "gdpr", START)
        head = ledger.head()
        (whole.state / "ledger.head").write_text(f"{ledger.ledger_id} {head.seq} {head.hash}\n")
    assert whole.check().exit_code == 0
    whole.ledger.write_bytes(older)
    assert whole.check().exit_code == 5 and "its end was cut off" in whole.words()
    (whole.state / "ledger.head").write_text("nothing\n")
    assert whole.check().exit_code == 5 and "ledger.head is not as the program writes it" in whole.words()


def test_an_older_copy_of_before_a_certificate_is_found(whole: Whole) -> None:
    older = whole.ledger.read_bytes()
    answer_one_more(whole)
    assert whole.check().exit_code == 0
    whole.ledger.write_bytes(older)
    assert "q4.certificate.json is not on record" in whole.words() and whole.check().exit_code == 5


def test_an_anchor_of_another_ledger_or_of_nothing_is_refused(whole: Whole, tmp_path: Path) -> None:
    anchor = anchored(whole, tmp_path)
    line = json.loads(anchor.read_bytes())
    for change, named in (
        ({"ledger_id": "another"}, "another ledger"),
        ({"key_id": "a" * 64}, "was replaced"),
        ({"seq": "1"}, "holds no ledger heads"),
    ):
        anchor.write_text(json.dumps({**line, **change}, separators=(",", ":"), sort_keys=True) + "\n")
        assert whole.check(anchor).exit_code == 5 and named in whole.words(anchor)
    anchor.write_bytes(b"")
    assert "it is empty" in whole.words(anchor)
    assert whole.check(tmp_path / "none").exit_code == 3


def test_an_export_of_the_chain_serves_as_an_anchor_and_in_place_of_the_ledger(whole: Whole, tmp_path: Path) -> None:
    export = tmp_path / "chain.jsonl"
    with open_ledger(whole.state) as ledger:
        ledger.export_chain(export)
        ledger.add_request("late", "eve", ["r9"], "gdpr", START)
    assert whole.check(export).exit_code == 0
    header, rest = export.read_bytes().split(b"\n", 1)
    for change in ({"events": None, "head_hash": None}, {"events": None}, {"head_hash": None}, {"events": True}):
        fewer = {name: value for name, value in {**json.loads(header), **change}.items() if value is not None}
        text = json.dumps(fewer, separators=(",", ":"), sort_keys=True)
        (tmp_path / "headless.jsonl").write_bytes(text.encode() + b"\n" + rest)
        assert whole.check(tmp_path / "headless.jsonl").exit_code == 5
        assert "how many events it has" in whole.words(tmp_path / "headless.jsonl")
    done = verify_everything(whole.state, ledger=export)
    assert done.exit_code == 0 and "an export, without rows" in describe_all(done)
    with behind_its_back(whole.ledger) as connection:
        connection.execute("DELETE FROM event WHERE seq >= 5")
    assert whole.check(export).exit_code == 5
