"""The ledger's tables, and the triggers that keep its events append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQLITE_TRIGGERS = (
    """CREATE TRIGGER event_no_update BEFORE UPDATE ON event
       BEGIN SELECT RAISE(ABORT, 'the events of the ledger are append-only'); END""",
    """CREATE TRIGGER event_no_delete BEFORE DELETE ON event
       BEGIN SELECT RAISE(ABORT, 'the events of the ledger are append-only'); END""",
    # INSERT OR REPLACE deletes the old row without firing the trigger above
    """CREATE TRIGGER event_no_replace BEFORE INSERT ON event
       WHEN EXISTS (SELECT 1 FROM event WHERE seq = NEW.seq OR hash = NEW.hash)
       BEGIN SELECT RAISE(ABORT, 'the events of the ledger are append-only'); END""",
)
POSTGRESQL_TRIGGERS = (
    """CREATE FUNCTION expunge_event_append_only() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'the events of the ledger are append-only'; END $$""",
    """CREATE TRIGGER event_no_change BEFORE UPDATE OR DELETE ON event
       FOR EACH ROW EXECUTE FUNCTION expunge_event_append_only()""",
    """CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON event
       FOR EACH STATEMENT EXECUTE FUNCTION expunge_event_append_only()""",
)


def _text(name: str, *, null: bool = True) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=null)


def upgrade() -> None:
    """Create every table, index and trigger."""
    op.create_table(
        "request",
        sa.Column("id", sa.Text(), primary_key=True),
        _text("subject_pseudonym"),
        _text("regulation", null=False),
        _text("subject_request_type", null=False),
        _text("status", null=False),
        _text("received_at", null=False),
        _text("submitted_time"),
        _text("due_at", null=False),
        _text("due_rule", null=False),
        _text("acknowledge_by"),
        _text("extended_to"),
        _text("extension_reason"),
        _text("extension_notice_at"),
        _text("identity_requested_at"),
        _text("identity_confirmed_at"),
        _text("answered_at"),
        _text("outcome"),
        _text("refusal_ground"),
        sa.Column("duplicate_of", sa.Text(), sa.ForeignKey("request.id")),
        _text("data_erased_at"),
        _text("model_unlearned_at"),
        _text("run_id"),
        _text("status_callback_urls", null=False),
        _text("key_id", null=False),
        _text("details", null=False),
    )
    op.create_table(
        "request_record",
        sa.Column("request_id", sa.Text(), sa.ForeignKey("request.id"), primary_key=True),
        sa.Column("record_pseudonym", sa.Text(), primary_key=True),
        _text("status", null=False),
        _text("key_id", null=False),
        sa.CheckConstraint(
            "status IN ('requested', 'quarantined', 'erased', 'not_found')", name="request_record_status"
        ),
    )
    op.create_table(
        "erased_record",
        sa.Column("record_pseudonym", sa.Text(), primary_key=True),
        sa.Column("request_id", sa.Text(), sa.ForeignKey("request.id"), nullable=False),
        _text("quarantined_at", null=False),
        _text("erased_at"),
        _text("key_id", null=False),
    )
    op.create_table(
        "event",
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=False),
        _text("at", null=False),
        _text("kind", null=False),
        _text("request_id"),
        _text("run_id"),
        _text("payload", null=False),
        _text("previous_hash", null=False),
        sa.Column("hash", sa.Text(), nullable=False, unique=True),
    )
    op.create_table(
        "deletion_run",
        sa.Column("id", sa.Text(), primary_key=True),
        _text("status", null=False),
        _text("method"),
        _text("model_version_before"),
        _text("model_version_after"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _text("plan", null=False),
        _text("started_at", null=False),
        _text("finished_at"),
        _text("stop_reason"),
        _text("fallback_reason"),
        _text("details", null=False),
    )
    op.create_table(
        "tombstone",
        sa.Column("id", sa.Text(), primary_key=True),
        _text("kind", null=False),
        _text("name", null=False),
        _text("content_hash"),
        _text("created_at"),
        _text("destroyed_at"),
        _text("method"),
        _text("run_id"),
        _text("reason"),
        _text("status", null=False),
        _text("details", null=False),
        sa.CheckConstraint("status IN ('destroyed', 'kept')", name="tombstone_status"),
    )
    op.create_table(
        "certificate",
        sa.Column("request_id", sa.Text(), sa.ForeignKey("request.id"), primary_key=True),
        sa.Column("sha256", sa.Text(), primary_key=True),
        _text("path", null=False),
        _text("at", null=False),
        _text("run_id"),
        sa.Column("interim", sa.Integer(), nullable=False),
        sa.CheckConstraint("interim IN (0, 1)", name="certificate_interim"),
    )
    op.create_table("meta", sa.Column("key", sa.Text(), primary_key=True), _text("value", null=False))
    for name, table, column in (
        ("request_by_status", "request", "status"),
        ("request_by_subject", "request", "subject_pseudonym"),
        ("request_by_due", "request", "due_at"),
        ("request_by_run", "request", "run_id"),
        ("request_by_duplicate", "request", "duplicate_of"),
        ("request_record_by_record", "request_record", "record_pseudonym"),
        ("erased_record_by_request", "erased_record", "request_id"),
        ("event_by_request", "event", "request_id"),
        ("event_by_run", "event", "run_id"),
        ("tombstone_by_run", "tombstone", "run_id"),
        ("tombstone_by_hash", "tombstone", "content_hash"),
    ):
        op.create_index(name, table, [column])
    dialect = op.get_bind().dialect.name
    for statement in SQLITE_TRIGGERS if dialect == "sqlite" else POSTGRESQL_TRIGGERS if dialect == "postgresql" else ():
        op.execute(statement)


def downgrade() -> None:
    """Refused: a ledger is never emptied."""
    raise NotImplementedError("A ledger only goes forward.")
