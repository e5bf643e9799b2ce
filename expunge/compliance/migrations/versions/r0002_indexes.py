"""Indexes for a ledger of 100,000 requests: the newest answers, the newest run and the newest event of a kind, without
reading all of them.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the indexes; no row changes."""
    op.create_index("request_by_answer", "request", ["answered_at", "id"])
    op.create_index("deletion_run_by_start", "deletion_run", ["started_at", "id"])
    op.create_index("event_by_kind", "event", ["kind", "seq"])


def downgrade() -> None:
    """Refused: a ledger only goes forward."""
    raise NotImplementedError("A ledger only goes forward.")
