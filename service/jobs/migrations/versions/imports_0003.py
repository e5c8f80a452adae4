"""The items of a line, or of a file without lines, before the checkpoint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    items = sa.Column("after_items", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("imports", items)


def downgrade() -> None:
    op.drop_column("imports", "after_items")
