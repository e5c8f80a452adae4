"""The notes on how a file is read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    notes = sa.Column("notes", sa.Text, nullable=False, server_default="[]")
    op.add_column("imports", notes)


def downgrade() -> None:
    op.drop_column("imports", "notes")
