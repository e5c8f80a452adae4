"""How many of the written records are new, replaced another, or were there already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
NAMES = ("created", "replaced", "unchanged")


def upgrade() -> None:
    for name in NAMES:
        count = sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        op.add_column("imports", count)


def downgrade() -> None:
    for name in NAMES:
        op.drop_column("imports", name)
