"""The table of imports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "imports",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("node", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("bytes_read", sa.BigInteger, nullable=False),
        sa.Column("after_lines", sa.BigInteger, nullable=False),
        sa.Column("after_offset", sa.BigInteger, nullable=False),
        sa.Column("written", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("retries", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("rate", sa.Double, nullable=False),
        sa.Column("eta_s", sa.Double),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("to_cancel", sa.Boolean, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("started_at", moment),
        sa.Column("finished_at", moment),
        sa.Column("seen_at", moment, nullable=False),
    )
    op.create_index("imports_status", "imports", ["status", "id"])


def downgrade() -> None:
    op.drop_table("imports")
