"""Keys: their text, and the rights of a new one."""

from __future__ import annotations

from service.access.grant import UNRESTRICTED, Grant
from service.access.key_format import KEY_ID, id_of
from service.errors import Forbidden
from service.web.keys.schemas import NewKey
from service.web.validation import validate
from tests.fuzz.parsers.bodies import SCOPED
from tests.fuzz.parsers.errors import answered_errors

SHORT_LIVED = Grant(tenant="shop", expires_at=1e9)


def key_text(data: bytes) -> None:
    id = id_of(data.decode(errors="replace"))
    assert id is None or KEY_ID.fullmatch(id)


def key_rights(data: bytes) -> None:
    """Rights can be stored and read again, and a key gives no more than it has."""
    with answered_errors():
        rights = validate(NewKey, data)
        assert NewKey.model_validate_json(rights.model_dump_json()) == rights
        grant = rights.grant("a" * 16, b"digest")
        assert grant.actions == set(rights.actions)
        if rights.is_covered_by(UNRESTRICTED) and rights.is_covered_by(SHORT_LIVED):
            assert grant.expires_at is not None
            assert grant.expires_at <= 1e9
        try:
            rights.check_covered_by(SCOPED)
        except Forbidden as error:
            error.detail.encode()
        else:
            raise AssertionError("a key that sees a part of the records creates another one")
