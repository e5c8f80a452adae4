"""What a grant allows: actions, namespaces, a filter and fields."""

from __future__ import annotations

import pytest

from service.access.grant import UNRESTRICTED, Grant
from service.access.limits import Rate, parse_rate
from service.access.scope import NamespaceRule, Scope
from service.errors import Forbidden

OWN = {"tenant": {"$eq": "a"}}
RECENT = {"year": {"$gte": 2020}}


def grant(*scopes: Scope) -> Grant:
    return Grant(tenant="t", scopes=scopes)


def rules(*patterns: str) -> tuple[NamespaceRule, ...]:
    return tuple(map(NamespaceRule, patterns))


def test_grant_without_keys_allows_everything() -> None:
    for action in ("search", "records.read", "records.write", "imports", "export", "stats", "keys"):
        UNRESTRICTED.require(action)
    UNRESTRICTED.require_whole_records("any")
    assert UNRESTRICTED.filter("any") is None
    assert not UNRESTRICTED.is_scoped


def test_grant_names_allowed_actions_in_error() -> None:
    reader = Grant(actions=frozenset({"search", "stats"}))
    reader.require("search")
    with pytest.raises(Forbidden, match="does not allow export; it allows search, stats"):
        reader.require("export")


@pytest.mark.parametrize(
    ("patterns", "namespace", "allowed"),
    [
        (("a",), "a", True),
        (("a",), "ab", False),
        (("a*",), "ab", True),
        (("a-*",), "a", False),
        (("*",), "", True),
        ((), "a", False),
        (("a", "b"), "b", True),
        (("A",), "a", False),
    ],
)
def test_grant_allows_namespaces_by_name_and_prefix(
    patterns: tuple[str, ...], namespace: str, allowed: bool
) -> None:
    limited = grant(Scope(rules(*patterns)))
    assert limited.allows_namespace(namespace) is allowed
    if not allowed:
        with pytest.raises(Forbidden):
            limited.require_namespace(namespace)


def test_scopes_only_narrow() -> None:
    """What a token opens, its key has to open, too."""
    both = grant(Scope(rules("a-*")), Scope(rules("a-1", "b")))
    assert both.allows_namespace("a-1")
    assert not both.allows_namespace("a-2")
    assert not both.allows_namespace("b")


def test_filter_has_conditions_of_every_scope() -> None:
    both = grant(Scope(filter=OWN), Scope((NamespaceRule("*", RECENT),)))
    assert both.filter("a") == {"$and": [OWN, RECENT]}


def test_most_specific_rule_applies() -> None:
    scope = Scope((NamespaceRule("*", OWN), NamespaceRule("a-*", RECENT), NamespaceRule("a-1")))
    assert [grant(scope).filter(each) for each in ("b", "a-2", "a-1")] == [OWN, RECENT, None]


def test_fields_are_those_of_every_scope() -> None:
    assert grant(Scope(), Scope()).fields is None
    both = grant(Scope(fields=frozenset("abc")), Scope(fields=frozenset("bcd")))
    assert both.fields == frozenset("bc")


@pytest.mark.parametrize("scope", [Scope(filter=OWN), Scope(fields=frozenset("a"))])
def test_grant_of_a_part_of_the_records_may_not_write(scope: Scope) -> None:
    with pytest.raises(Forbidden, match="sees only a part"):
        grant(scope).require_whole_records("a")


def test_rate_is_a_number_and_a_period() -> None:
    assert [parse_rate(each) for each in ("5/s", "100/m", "1/d")] == [
        Rate(5, 1),
        Rate(100, 60),
        Rate(1, 86_400),
    ]


def test_rate_may_have_a_burst() -> None:
    rate = parse_rate("5/s burst=20")
    assert (rate, rate.capacity, rate.interval_s) == (Rate(5, 1, 20), 20, 0.2)
    assert parse_rate("6/m").capacity == 6
    assert [str(parse_rate(each)) for each in ("5/s burst=20", "9/d")] == ["5/s burst=20", "9/d"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5/",
        "/s",
        "0/s",
        "-1/s",
        "5/w",
        "5/s ",
        "1.5/s",
        "٥/s",
        "5/s burst=0",
        "5/sburst=2",
    ],
)
def test_rate_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 5/s"):
        parse_rate(text)


def test_grant_names_the_namespace_that_it_refuses() -> None:
    with pytest.raises(Forbidden, match="does not allow the namespace b"):
        grant(Scope(rules("a"))).require_namespace("b")


def test_grant_may_write_to_namespaces_that_it_sees_as_a_whole() -> None:
    limited = grant(Scope((NamespaceRule("a", OWN), NamespaceRule("b"))))
    limited.require_whole_records("b")
    with pytest.raises(Forbidden, match="a part of the namespace a"):
        limited.require_whole_records("a")
    with pytest.raises(Forbidden, match="does not allow the namespace c"):
        limited.require_whole_records("c")


def test_grant_counts_namespaces_whose_records_it_sees_all() -> None:
    limited = grant(Scope((NamespaceRule("a", OWN), NamespaceRule("b")), fields=frozenset("x")))
    assert [limited.allows_counting(each) for each in "abc"] == [False, True, False]


def test_grant_refuses_conditions_on_hidden_fields() -> None:
    limited = grant(Scope(fields=frozenset({"year", "price"})))
    limited.require_filter(None)
    limited.require_filter({"$or": [RECENT, {"price": 1}]})
    for hidden in (OWN, {"$and": [RECENT, {"$or": [{"price": 1}, OWN]}]}, RECENT | OWN):
        with pytest.raises(Forbidden, match="names a field"):
            limited.require_filter(hidden)
        UNRESTRICTED.require_filter(hidden)


def test_imports_belong_to_their_tenant_unless_nothing_is_hidden() -> None:
    assert Grant(tenant="t").import_owner is None
    assert grant(Scope(rules("*"))).import_owner == "t"
