"""What does the ledger hold? Its tables, as the migrations make them.

Every column is text or an integer, so that a row is the same value in SQLite, in PostgreSQL and in the stand-alone
verifier. Moments are UTC ISO text (`moments`), JSON is canonical text (`canonical`). No identity and no record id is
ever stored, only keyed pseudonyms (`pseudonym`).
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, MetaData, Table, Text

metadata = MetaData()

request = Table(
    "request",
    metadata,
    Column("id", Text, primary_key=True),
    Column("subject_pseudonym", Text),
    Column("regulation", Text, nullable=False),
    Column("subject_request_type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("submitted_time", Text),
    Column("due_at", Text, nullable=False),
    Column("due_rule", Text, nullable=False),
    Column("acknowledge_by", Text),
    Column("extended_to", Text),
    Column("extension_reason", Text),
    Column("extension_notice_at", Text),
    Column("identity_requested_at", Text),
    Column("identity_confirmed_at", Text),
    Column("answered_at", Text),
    Column("outcome", Text),
    Column("refusal_ground", Text),
    Column("duplicate_of", Text, ForeignKey("request.id")),
    Column("data_erased_at", Text),
    Column("model_unlearned_at", Text),
    Column("run_id", Text),
    Column("status_callback_urls", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("details", Text, nullable=False),
)

request_record = Table(
    "request_record",
    metadata,
    Column("request_id", Text, ForeignKey("request.id"), primary_key=True),
    Column("record_pseudonym", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    CheckConstraint("status IN ('requested', 'quarantined', 'erased', 'not_found')", name="request_record_status"),
)

erased_record = Table(
    "erased_record",
    metadata,
    Column("record_pseudonym", Text, primary_key=True),
    Column("request_id", Text, ForeignKey("request.id"), nullable=False),
    Column("quarantined_at", Text, nullable=False),
    Column("erased_at", Text),
    Column("key_id", Text, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("request_id", Text),
    Column("run_id", Text),
    Column("payload", Text, nullable=False),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
)

deletion_run = Table(
    "deletion_run",
    metadata,
    Column("id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("method", Text),
    Column("model_version_before", Text),
    Column("model_version_after", Text),
    Column("attempt", Integer, nullable=False),
    Column("plan", Text, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
    Column("stop_reason", Text),
    Column("fallback_reason", Text),
    Column("details", Text, nullable=False),
)

tombstone = Table(
    "tombstone",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content_hash", Text),
    Column("created_at", Text),
    Column("destroyed_at", Text),
    Column("method", Text),
    Column("run_id", Text),
    Column("reason", Text),
    Column("status", Text, nullable=False),
    Column("details", Text, nullable=False),
    CheckConstraint("status IN ('destroyed', 'kept')", name="tombstone_status"),
)

certificate = Table(
    "certificate",
    metadata,
    Column("request_id", Text, ForeignKey("request.id"), primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("path", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("run_id", Text),
    Column("interim", Integer, nullable=False),
    CheckConstraint("interim IN (0, 1)", name="certificate_interim"),
)

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

Index("request_by_status", request.c.status)
Index("request_by_subject", request.c.subject_pseudonym)
Index("request_by_due", request.c.due_at)
Index("request_by_run", request.c.run_id)
Index("request_by_duplicate", request.c.duplicate_of)
Index("request_by_answer", request.c.answered_at, request.c.id)
Index("deletion_run_by_start", deletion_run.c.started_at, deletion_run.c.id)
Index("request_record_by_record", request_record.c.record_pseudonym)
Index("erased_record_by_request", erased_record.c.request_id)
Index("event_by_request", event.c.request_id)
Index("event_by_run", event.c.run_id)
Index("event_by_kind", event.c.kind, event.c.seq)
Index("tombstone_by_run", tombstone.c.run_id)
Index("tombstone_by_hash", tombstone.c.content_hash)
