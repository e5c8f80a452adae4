"""What keys may be asked for, and by whom."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from service.access.grant import UNRESTRICTED, Grant
from service.errors import Forbidden
from service.keys.rights import KeyRights

VALID: dict[str, Any] = {"name": "app", "actions": ["search"]}


def parse(**given: Any) -> KeyRights:
    return KeyRights.model_validate_json(orjson.dumps(VALID | given))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"actions": ["serach"]}, "'search', 'records.read'"),
        ({"actions": []}, "at least 1"),
        ({"name": ""}, "at least 1"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "  "}, "printable"),
        ({"namespaces": []}, "at least 1"),
        ({"namespaces": ["a/b"]}, "1 to 512 characters"),
        ({"namespaces": ["a*b"]}, "at its end"),
        ({"namespaces": ["a**"]}, "at its end"),
        ({"namespaces": [""]}, "at its end"),
        ({"filter": {}}, "no condition"),
        ({"filter": {"$and": [{}]}}, "no condition"),
        ({"filter": {"a": {"$like": 1}}}, "not an operator"),
        ({"filter": {"a": {"$match_any": "x"}}}, "$match_any is not allowed"),
        ({"filter": {"$or": [{"b": 1}, {"a": {"$match_all": "x"}}]}}, "$match_all is not allowed"),
        ({"filter": {"a": {"$eq": "x"}}, "actions": ["records.write"]}, "change or give away"),
        ({"fields": ["a"], "actions": ["search", "imports"]}, "action imports"),
        ({"fields": ["a"], "actions": ["keys"]}, "action keys"),
        ({"fields": ["*"]}, "leave fields out"),
        ({"fields": ["a", ""]}, "leave fields out"),
        ({"rate": "5/s", "actions": ["search", "keys"]}, "limits of its own"),
        ({"quota": {"bytes": 9}, "actions": ["keys"]}, "limits of its own"),
        ({"rate": "5/w"}, "such as 5/s"),
        ({"quota": {"records": 0}}, "greater than or equal to 1"),
        ({"quota": {"recs": 1}}, "Extra inputs"),
        ({"expires_at": "2030-01-01T00:00:00"}, "timezone"),
        ({"expires_at": 1}, "datetime"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_rights_that_are_wrong_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as error:
        parse(**given)
    assert sentence in str(error.value)


def test_rights_survive_their_storage() -> None:
    rights = parse(namespaces=["a", "b-*", "*"], rate="5/s", expires_at="2030-01-31T12:00:00+01:00")
    again = KeyRights.model_validate_json(rights.model_dump_json())
    assert again == rights
    assert again.expires_at == datetime(2030, 1, 31, 11, tzinfo=UTC)


def grant(**given: Any) -> Grant:
    return parse(actions=["keys", "search"], **given).grant("a" * 16, b"")


SOON, LATER = "2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("holder", "asked", "refused"),
    [
        (UNRESTRICTED, {"actions": ["records.write", "keys"]}, None),
        (grant(), {"actions": ["search", "keys"]}, None),
        (grant(), {"actions": ["stats"]}, "does not allow stats"),
        (grant(namespaces=["a-*", "b"]), {"namespaces": ["a-1", "a-b-*", "a-*", "b"]}, None),
        (grant(namespaces=["a-*"]), {"namespaces": ["a*"]}, "namespaces a\\*"),
        (grant(namespaces=["a-*"]), {"namespaces": ["a-1", "b"]}, "namespaces b"),
        (grant(namespaces=["b"]), {"namespaces": ["b*"]}, "namespaces b\\*"),
        (grant(namespaces=["b"]), {}, "namespaces \\*"),
        (grant(namespaces=["*"]), {}, None),
        (grant(expires_at=SOON), {"expires_at": SOON}, None),
        (grant(expires_at=SOON), {"expires_at": LATER}, "expires at 2030-01-01"),
        (grant(expires_at=SOON), {}, "expires at 2030-01-01"),
        (grant(), {"filter": {"a": 1}, "expires_at": LATER}, None),
    ],
)
def test_key_gives_no_more_than_it_has(
    holder: Grant, asked: dict[str, Any], refused: str | None
) -> None:
    rights = parse(**asked)
    assert rights.is_covered_by(holder) == (refused is None)
    if refused is not None:
        with pytest.raises(Forbidden, match=refused):
            rights.check_covered_by(holder)


@pytest.mark.parametrize(
    ("limit", "refused"),
    [
        ({"filter": {"a": 1}}, "only a part"),
        ({"fields": ["a"]}, "only a part"),
        ({"rate": "5/s"}, "a rate or a quota"),
        ({"quota": {"records": 5}}, "a rate or a quota"),
    ],
)
def test_limited_key_gives_nothing(limit: dict[str, Any], refused: str) -> None:
    """Such a key can't have the action `keys`; the check holds without that."""
    holder = parse(**limit).grant("a" * 16, b"")
    with pytest.raises(Forbidden, match=refused):
        parse().check_covered_by(holder)
