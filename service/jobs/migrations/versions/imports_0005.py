"""Whose import it is, for keys that see only their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("imports", sa.Column("owner", sa.String(64), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("imports", "owner")
