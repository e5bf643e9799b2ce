"""How much of the chain was checked: all of a short one, the new end of a long one, and never more said than done."""

from __future__ import annotations

from pathlib import Path

from conftest import Clock, behind
from sqlalchemy import text

from expunge.compliance.chain_check import check_all, check_quickly
from expunge.compliance.ledger import Ledger

TRIGGERS = ("event_no_update", "event_no_delete", "event_no_replace")


def write(ledger: Ledger, events: int) -> None:
    for number in range(events):
        ledger.append_event("note", {"n": number})


def tamper(where: str | Path, statement: str) -> None:
    with behind(where) as connection:
        if isinstance(where, Path):
            for name in TRIGGERS:
                connection.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
        else:
            connection.execute(text("ALTER TABLE event DISABLE TRIGGER USER"))
        connection.execute(text(statement))


def test_a_short_chain_is_checked_whole(ledger: Ledger, where: str | Path, tmp_path: Path, clock: Clock) -> None:
    write(ledger, 5)
    report = check_quickly(ledger, tmp_path / "note", clock.now)
    assert (report.state, report.words, report.whole) == ("intact", "all 6 events, now", True)
    tamper(where, "UPDATE event SET kind = 'x' WHERE seq = 3")
    report = check_quickly(ledger, tmp_path / "note", clock.now)
    assert report.state == "BROKEN at event 3" and not report.whole


def test_of_a_long_chain_the_new_end_is_checked_and_that_is_said(
    ledger: Ledger, where: str | Path, tmp_path: Path, clock: Clock
) -> None:
    note = tmp_path / "note"
    write(ledger, 29)
    first = check_quickly(ledger, note, clock.now, events=10)
    assert first.state == "intact in part" and not first.whole and not note.exists()
    assert first.words == "events 21 to 30 of 30 now; all of them: expunge doctor"
    assert check_all(ledger, note, clock.now).ok
    clock.forward(days=1)
    write(ledger, 5)
    second = check_quickly(ledger, note, clock.now, events=10)
    assert second.whole and second.words == "events 31 to 35 of 35 now, those before on 2026-03-02T09:30"
    write(ledger, 25)
    third = check_quickly(ledger, note, clock.now, events=10)  # goes on from there, and no further than it may
    assert third.state == "intact in part" and third.words.startswith("events 36 to 45 of 60 now")
    assert check_quickly(ledger, note, clock.now, events=10).last == 55
    assert check_quickly(ledger, note, clock.now, events=10).whole
    # a change before the last check is what a quick check does not see, and a full one does
    tamper(where, "UPDATE event SET kind = 'x' WHERE seq = 3")
    assert check_quickly(ledger, note, clock.now, events=10).whole
    assert check_all(ledger, note, clock.now).first_bad_seq == 3
    assert check_quickly(ledger, tmp_path / "none", clock.now, events=10).state == "intact in part"


def test_a_change_after_the_last_check_is_found(
    ledger: Ledger, where: str | Path, tmp_path: Path, clock: Clock
) -> None:
    write(ledger, 20)
    check_all(ledger, tmp_path / "note", clock.now)
    write(ledger, 5)
    tamper(where, "UPDATE event SET payload = '{}' WHERE seq = 24")
    assert check_quickly(ledger, tmp_path / "note", clock.now, events=10).state == "BROKEN at event 24"


def test_an_end_that_was_cut_off_shows_and_so_does_a_past_written_anew(
    ledger: Ledger, where: str | Path, tmp_path: Path, clock: Clock
) -> None:
    write(ledger, 20)
    check_all(ledger, tmp_path / "note", clock.now)
    tamper(where, "DELETE FROM event WHERE seq > 15")
    assert ledger.verify_chain().ok  # which the chain alone cannot show
    found = check_quickly(ledger, tmp_path / "note", clock.now)
    assert found.state.startswith("SHORTER than it was: it ends at event 15")
    assert check_all(ledger, tmp_path / "note", clock.now).ok  # the note that knows better stays
    assert check_quickly(ledger, tmp_path / "note", clock.now).state == found.state
    write(ledger, 9)
    found = check_quickly(ledger, tmp_path / "note", clock.now)
    assert ledger.verify_chain().ok and found.state.startswith("REWRITTEN: event 21") and not found.whole
    check_all(ledger, tmp_path / "note", clock.now)
    assert not check_quickly(ledger, tmp_path / "note", clock.now).whole
    assert "remove that file" in found.state
    (tmp_path / "note").unlink()  # a restored backup is taken as it is by who removes the note
    assert check_quickly(ledger, tmp_path / "note", clock.now).whole


def test_a_note_of_another_ledger_or_a_damaged_one_counts_for_nothing(
    ledger: Ledger, tmp_path: Path, clock: Clock
) -> None:
    note = tmp_path / "note"
    write(ledger, 20)
    for content in ("", "{", "[]", '{"ledger_id": "another", "seq": 9, "hash": "x", "at": "y"}', '{"seq": 4}'):
        note.write_text(content)
        assert check_quickly(ledger, note, clock.now, events=10).state == "intact in part", content
        assert check_quickly(ledger, note, clock.now).whole
