"""What keys may be asked for, and by whom."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from service.access.grant import UNRESTRICTED, Grant
from service.access.limits import Quota, Rate
from service.access.scope import NamespaceRule, Scope
from service.errors import Forbidden
from service.keys.rights import KeyRights

VALID: dict[str, Any] = {"name": "app", "actions": ["search"]}
SOON, LATER = "2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"


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


def test_forced_filter_may_have_a_hundred_conditions() -> None:
    conditions: list[dict[str, Any]] = [{"a": number} for number in range(101)]
    parse(filter={"$or": conditions[1:]})
    with pytest.raises(ValidationError, match="has more than 100 conditions"):
        parse(filter={"$or": conditions})


def test_rights_survive_their_storage() -> None:
    rights = parse(namespaces=["a", "b-*", "*"], rate="5/s", expires_at="2030-01-31T12:00:00+01:00")
    again = KeyRights.model_validate_json(rights.model_dump_json())
    assert again == rights
    assert again.expires_at == datetime(2030, 1, 31, 11, tzinfo=UTC)


def grant(**given: Any) -> Grant:
    return parse(actions=["keys", "search"], **given).grant("a" * 16, b"")


def test_grant_has_the_rights_of_the_key() -> None:
    rights = parse(
        name="shop",
        namespaces=["a", "b-*"],
        filter={"tenant": "a"},
        fields=["price"],
        rate="5/s burst=9",
        quota={"read_units": 1, "records": 2, "bytes": 3},
        expires_at=SOON,
    )
    scope = Scope((NamespaceRule("a"), NamespaceRule("b-*")), {"tenant": "a"}, frozenset({"price"}))
    expected = Grant(
        tenant="key:the-id",
        key_id="the-id",
        key_name="shop",
        actions=frozenset({"search"}),
        scopes=(scope,),
        rate=Rate(5, 1, 9),
        quota=Quota(1, 2, 3),
        expires_at=datetime(2030, 1, 1, tzinfo=UTC).timestamp(),
    )
    granted = rights.grant("the-id", b"digest")
    assert (granted, granted.credential) == (expected, b"digest")
    plain = parse().grant("the-id", b"")
    assert (plain.scopes, plain.rate, plain.quota, plain.expires_at) == ((), None, None, None)


@pytest.mark.parametrize(
    ("given", "scope"),
    [
        ({"namespaces": ["a"]}, Scope((NamespaceRule("a"),))),
        ({"filter": {"tenant": "a"}}, Scope(filter={"tenant": "a"})),
        ({"fields": ["price"]}, Scope(fields=frozenset({"price"}))),
    ],
)
def test_each_limit_of_a_key_makes_a_scope(given: dict[str, Any], scope: Scope) -> None:
    assert parse(**given).grant("a" * 16, b"").scopes == (scope,)


def test_grant_ends_with_the_first_of_its_ends() -> None:
    early, late = datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    assert parse().grant("a", b"", early).expires_at == early.timestamp()
    assert parse(expires_at=LATER).grant("a", b"", early).expires_at == early.timestamp()
    assert parse(expires_at=SOON).grant("a", b"", late).expires_at == early.timestamp()


@pytest.mark.parametrize(
    ("holder", "asked", "refused"),
    [
        (None, {"actions": ["records.write", "keys"]}, None),
        ({}, {"actions": ["search", "keys"]}, None),
        ({}, {"actions": ["stats"]}, "does not allow stats"),
        ({"namespaces": ["a-*", "b"]}, {"namespaces": ["a-1", "a-b-*", "a-*", "b"]}, None),
        ({"namespaces": ["a-*"]}, {"namespaces": ["a*"]}, "namespaces a\\*"),
        ({"namespaces": ["a-*"]}, {"namespaces": ["a-1", "b"]}, "namespaces b"),
        ({"namespaces": ["b"]}, {"namespaces": ["b*"]}, "namespaces b\\*"),
        ({"namespaces": ["b"]}, {}, "namespaces \\*"),
        ({"namespaces": ["*"]}, {}, None),
        ({"expires_at": SOON}, {"expires_at": SOON}, None),
        ({"expires_at": SOON}, {"expires_at": LATER}, "expires at 2030-01-01"),
        ({"expires_at": SOON}, {}, "expires at 2030-01-01"),
        ({}, {"filter": {"a": 1}, "expires_at": LATER}, None),
    ],
)
def test_key_gives_no_more_than_it_has(
    holder: dict[str, Any] | None, asked: dict[str, Any], refused: str | None
) -> None:
    granted = UNRESTRICTED if holder is None else grant(**holder)
    rights = parse(**asked)
    assert rights.is_covered_by(granted) == (refused is None)
    if refused is not None:
        with pytest.raises(Forbidden, match=refused):
            rights.check_covered_by(granted)


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
