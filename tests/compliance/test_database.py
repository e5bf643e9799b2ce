"""The ledger's database: made once by whoever comes first, never by a newer program, damage has a name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from conftest import ON_POSTGRESQL, ROOT, START, behind, finish, run_python
from postgresql_server import Server
from sqlalchemy import inspect, text

from expunge.compliance import migrations, models
from expunge.compliance.database import reading, writing
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import Pseudonymizer
from expunge.errors import ExpungeError, IntegrityError, UsageError

TOGETHER = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import load_or_create_key
where, state, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
sys.stdin.readline()
with Ledger.open(where, load_or_create_key(state / "keys" / "pseudonym.key")) as ledger:
    for index in range(5):
        ledger.add_request(f"q-{number}-{index}", None, [f"r-{number}-{index}"], "gdpr", datetime.now(UTC))
        ledger.admit(f"q-{number}-{index}")
    ledger.add_request("shared", None, ["r-shared"], "gdpr", datetime.now(UTC))
    print(ledger.ledger_id, ledger.pseudonymizer.key_id)
"""


def test_four_processes_open_the_same_new_ledger_at_once(where: str | Path, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", TOGETHER, str(where), str(tmp_path / "state"), str(number)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = finish(processes)
    assert len(set(outputs)) == 1
    ledger_id, key_id = outputs[0].split()
    key = bytes.fromhex((tmp_path / "state" / "keys" / "pseudonym.key").read_text().strip())
    with Ledger.open(where, Pseudonymizer(key)) as ledger:
        assert (ledger.ledger_id, ledger.pseudonymizer.key_id) == (ledger_id, key_id)
        assert len(ledger.list_requests()) == 21 and ledger.verify_chain().ok and ledger.verify_rows() == []
        assert len(ledger.quarantined_among(f"r-{n}-{i}" for n in range(4) for i in range(5))) == 20
        assert sum(event.kind == "ledger.created" for event in ledger.events()) == 1


def test_a_killed_writer_leaves_nothing_half_done(where: str | Path, pseudonymizer: Pseudonymizer) -> None:
    with Ledger.open(where, pseudonymizer) as ledger:
        head = ledger.head()
    killed = run_python(
        """
import os, sys
from datetime import datetime, UTC
from expunge.compliance import chain
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import Pseudonymizer
append = chain.append_all
def die(*given, **more):
    append(*given, **more)
    os._exit(9)
chain.append_all = die
Ledger.open(sys.argv[1], Pseudonymizer(bytes(range(32)))).add_request("q1", None, ["r1"], "gdpr", datetime.now(UTC))
""",
        where,
    )
    killed.communicate(timeout=60)
    assert killed.returncode == 9
    with Ledger.open(where, pseudonymizer) as ledger:
        assert ledger.head() == head and ledger.list_requests() == [] and ledger.verify_rows() == []
        assert ledger.add_request("q1", None, ["r1"], "gdpr", START).created


def test_a_ledger_of_a_newer_program_is_refused_and_left_alone(where: str | Path, pseudonymizer: Pseudonymizer) -> None:
    Ledger.open(where, pseudonymizer).close()
    with behind(where) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        before = connection.execute(text("SELECT * FROM event")).all()
    newer = rf"newer Expunge \(revision 9999; this one knows {migrations.HEAD}\)\. Update the program"
    with pytest.raises(UsageError, match=newer):
        Ledger.open(where, pseudonymizer)
    with behind(where) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
        assert connection.execute(text("SELECT * FROM event")).all() == before


def test_a_file_that_is_no_ledger_is_named(tmp_path: Path, pseudonymizer: Pseudonymizer) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"this is no database " * 200)
    with pytest.raises(IntegrityError, match=r"ledger\.db is damaged"):
        Ledger.open(path, pseudonymizer)
    for where in (tmp_path, "mysql://host/ledger", "sqlite://", "nonsense://x"):
        with pytest.raises(UsageError):
            Ledger.open(where, pseudonymizer)
    with pytest.raises(UsageError, match="Mars"):
        Ledger.open(tmp_path / "other.db", pseudonymizer, timezone="Mars/Olympus")


def test_a_locked_ledger_says_so(where: str | Path, pseudonymizer: Pseudonymizer) -> None:
    with Ledger.open(where, pseudonymizer, busy_seconds=0.1) as ledger:
        with writing(ledger._engine), pytest.raises(ExpungeError, match="locked by another process"):
            ledger.add_request("q1", None, ["r1"], "gdpr", START)
        assert ledger.add_request("q1", None, ["r1"], "gdpr", START).created


@ON_POSTGRESQL  # in SQLite without WAL a reader keeps writers from committing at all
def test_a_read_sees_one_state_while_another_process_writes(postgresql: Server, pseudonymizer: Pseudonymizer) -> None:
    where = postgresql.new_database()
    with Ledger.open(where, pseudonymizer) as ledger, Ledger.open(where, pseudonymizer) as other:
        with reading(ledger._engine) as connection:
            before = connection.execute(text("SELECT count(*) FROM event")).scalar()
            other.append_event("note", {"n": 1})
            assert connection.execute(text("SELECT count(*) FROM event")).scalar() == before
        assert ledger.events()[-1].kind == "note"


@ON_POSTGRESQL
def test_a_server_is_named_by_any_of_its_urls_and_its_password_by_none(
    postgresql: Server, pseudonymizer: Pseudonymizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = postgresql.new_database().replace("postgresql+psycopg://postgres@", "postgresql://postgres:secret@")
    Ledger.open(plain, pseudonymizer).close()
    with pytest.raises(ExpungeError, match="nothing_here") as absent:
        Ledger.open(plain.replace("/ledger_", "/nothing_here_"), pseudonymizer)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match="driver") as no_driver:
        Ledger.open(plain, pseudonymizer)
    assert ".[postgres]" in no_driver.value.hint
    for error in (absent.value, no_driver.value):
        assert "secret" not in str(error) + error.hint


def test_the_file_is_the_owners_alone(tmp_path: Path, pseudonymizer: Pseudonymizer) -> None:
    Ledger.open(tmp_path / "ledger.db", pseudonymizer).close()
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600


def test_the_migrations_make_the_tables_that_the_program_reads(where: str | Path, pseudonymizer: Pseudonymizer) -> None:
    from alembic.autogenerate import compare_metadata

    Ledger.open(where, pseudonymizer).close()
    with behind(where) as connection:
        assert compare_metadata(MigrationContext.configure(connection), models.metadata) == []
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_heads() == [migrations.HEAD]


def test_a_ledger_of_an_older_program_is_brought_up_to_date(where: str | Path, pseudonymizer: Pseudonymizer) -> None:
    new = {"request_by_answer", "deletion_run_by_start", "event_by_kind"}

    def indexes() -> set[str]:
        with behind(where) as connection:
            look = inspect(connection)
            return {str(one["name"]) for table in look.get_table_names() for one in look.get_indexes(table)}

    with Ledger.open(where, pseudonymizer) as ledger:
        ledger.add_request("q1", None, ["r1"], "gdpr", START)
        head = ledger.head()
    with behind(where) as connection:
        for name in new:
            connection.execute(text(f"DROP INDEX {name}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert not new & indexes()
    with Ledger.open(where, pseudonymizer) as ledger:
        assert ledger.head() == head and ledger.get_request("q1").status == "received"
        assert ledger.verify_chain().ok and ledger.verify_rows() == [] and ledger.missing_guards() == []
    assert new <= indexes()


def test_importing_the_ledger_loads_nothing_heavy() -> None:
    heavy = ("pandas", "numpy", "torch", "sklearn", "alembic", "pydantic", "zenml", "dvc", "cryptography")
    code = f"import sys, expunge.compliance.ledger; print(*[name for name in {heavy} if name in sys.modules])"
    assert finish([run_python(code)]) == ["\n"]
