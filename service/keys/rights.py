"""What a key may do, as it is asked for and as it is stored, and who may give it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from service.access.grant import Action, Grant
from service.access.limits import Quota, parse_rate
from service.access.rules import MAX_RULES, check_forced_filter, check_pattern, covers
from service.access.scope import NamespaceRule, Scope
from service.errors import Forbidden

MAX_NAME = 100
MAX_FIELDS = 1_000
MAX_AMOUNT = 2**53
WHOLE_RECORDS: tuple[Action, ...] = ("records.write", "imports", "keys")


def _check_name(name: str) -> str:
    if not name.isprintable() or not name.strip():
        raise ValueError("must be a printable text")
    return name


def _check_fields(names: list[str]) -> list[str]:
    for name in names:
        if not name or name == "*":
            raise ValueError("must be the names of fields; leave fields out to allow all of them")
    return names


def _check_rate(rate: str) -> str:
    parse_rate(rate)
    return rate


class DailyQuota(BaseModel):
    """What a key may use in a day (UTC). A limit that is left out is none."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    read_units: int | None = Field(None, ge=1, le=MAX_AMOUNT, description="Read units of searches.")
    records: int | None = Field(
        None, ge=1, le=MAX_AMOUNT, description="Records written, imported or exported."
    )
    bytes: int | None = Field(
        None, ge=1, le=MAX_AMOUNT, description="Bytes of writes, uploads and exports."
    )


class KeyRights(BaseModel):
    """The rights of a key. They can't be changed; revoke the key, and create another one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_check_name)] = Field(
        min_length=1, max_length=MAX_NAME, description="A name, for lists and logs."
    )
    actions: list[Action] = Field(min_length=1, max_length=20, description="What it may do.")
    namespaces: list[Annotated[str, AfterValidator(check_pattern)]] | None = Field(
        None,
        min_length=1,
        max_length=MAX_RULES,
        description="The namespaces that it may use; `prefix*` names all that begin so. All of "
        "them if left out.",
    )
    filter: Annotated[dict[str, Any], AfterValidator(check_forced_filter)] | None = Field(
        None, description="It sees only records that match, in every namespace."
    )
    fields: Annotated[list[str], AfterValidator(_check_fields)] | None = Field(
        None,
        min_length=1,
        max_length=MAX_FIELDS,
        description="The only fields of records that it sees.",
    )
    rate: Annotated[str, AfterValidator(_check_rate)] | None = Field(
        None, description="The most requests in a period, such as `5/s`, `100/m` or `5/s burst=20`."
    )
    quota: DailyQuota | None = Field(None, description="What it may use in a day.")
    expires_at: AwareDatetime | None = Field(
        None, description="When it expires, with a time zone, such as `2030-01-31T12:00:00Z`."
    )

    @model_validator(mode="after")
    def _check_actions(self) -> KeyRights:
        if "keys" in self.actions and (self.rate, self.quota) != (None, None):
            raise ValueError(
                "A key with a rate or a quota can't have the action keys: each key that it creates "
                "would have limits of its own"
            )
        if self.filter is None and self.fields is None:
            return self
        for action in WHOLE_RECORDS:
            if action in self.actions:
                raise ValueError(
                    f"A key with a filter or with fields can't have the action {action}: it could "
                    "change or give away what it does not see"
                )
        return self

    def grant(self, id: str, digest: bytes, until: datetime | None = None) -> Grant:
        """The grant of this key, at most until then."""
        ends = [each for each in (self.expires_at, until) if each is not None]
        quota = self.quota
        return Grant(
            tenant=f"key:{id}",
            key_id=id,
            key_name=self.name,
            actions=frozenset(self.actions),
            scopes=self._scopes(),
            rate=None if self.rate is None else parse_rate(self.rate),
            quota=None if quota is None else Quota(quota.read_units, quota.records, quota.bytes),
            expires_at=min(ends).timestamp() if ends else None,
            credential=digest,
        )

    def check_covered_by(self, grant: Grant) -> None:
        """Raise `Forbidden` if the key may do something that the holder of the grant may not."""
        if extra := set(self.actions) - grant.actions:
            raise Forbidden(f"This key does not allow {min(extra)}, so it can't give it to a key")
        for scope in grant.scopes:
            for pattern in self.namespaces or ["*"]:
                if not _opens(scope, pattern):
                    raise Forbidden(
                        f"This key does not allow the namespaces {pattern}, so it can't give them "
                        "to a key"
                    )
        if grant.fields is not None or any(scope.filter for scope in grant.scopes):
            raise Forbidden("This key sees only a part of the records, so it can't create keys")
        if (grant.rate, grant.quota) != (None, None):
            raise Forbidden("This key has a rate or a quota, so it can't create keys")
        expires_at = None if self.expires_at is None else self.expires_at.timestamp()
        if grant.expires_at is not None and (expires_at is None or expires_at > grant.expires_at):
            moment = datetime.fromtimestamp(grant.expires_at, UTC).isoformat(timespec="seconds")
            raise Forbidden(f"This key expires at {moment}, so the new one must not expire later")

    def is_covered_by(self, grant: Grant) -> bool:
        try:
            self.check_covered_by(grant)
        except Forbidden:
            return False
        return True

    def _scopes(self) -> tuple[Scope, ...]:
        if self.namespaces is None and self.filter is None and self.fields is None:
            return ()
        rules = None if self.namespaces is None else tuple(map(NamespaceRule, self.namespaces))
        fields = None if self.fields is None else frozenset(self.fields)
        return (Scope(rules, self.filter, fields),)


def _opens(scope: Scope, pattern: str) -> bool:
    """Whether a scope without filters opens every namespace of the pattern."""
    return scope.namespaces is None or any(
        rule.filter is None and covers(rule.pattern, pattern) for rule in scope.namespaces
    )
