"""The tables of API keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("rights", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("previous_digest", sa.String(64)),
        sa.Column("previous_until", moment),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("rotated_at", moment),
        sa.Column("revoked_at", moment),
    )
    changes = op.create_table("key_changes", sa.Column("revision", sa.BigInteger, nullable=False))
    op.bulk_insert(changes, [{"revision": 0}])


def downgrade() -> None:
    op.drop_table("key_changes")
    op.drop_table("api_keys")
