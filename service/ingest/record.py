"""The items of a parsed file: records, and errors for those that can't be loaded.

Every format passes its records through `RecordMapping.record`, which gives each an id, and checks
that it has a text and only values that an index accepts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from service.indexes.limits import MAX_FIELDS_BYTES, MAX_ID_LENGTH
from service.ingest.reading import START, Position
from service.ingest.text_source import fill_template, join, split_names, template_names
from service.settings import check_namespace

MAX_WHOLE = 2**63
NAMESPACE_FIELD = "_namespace"  # in the lines of an export of all namespaces
PUNCTUATION = 4  # bytes around a name or a text in JSON
NUMBER_SIZE = 8


@dataclass(frozen=True, slots=True)
class Record:
    """A record to write, its location, and its approximate size as JSON.

    In a format with lines, `line` is its first line, and `after` the position after it. It may name
    the namespace that it belongs to, as an export of all namespaces does.
    """

    where: str
    fields: dict[str, Any]
    size: int
    line: int | None = None
    after: Position = START
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class RecordError:
    """A record that can't be loaded, its location, and the reason."""

    where: str
    reason: str
    line: int | None = None
    after: Position = START

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


Item = Record | RecordError


class InvalidRecord(ValueError):
    """A record can't be loaded; the message is the reason."""


@dataclass(frozen=True, slots=True)
class RecordMapping:
    """How the columns of a file become a record. `flags`: name options as the command line does.

    With `flatten`, a nested object becomes fields with dotted names, and a list of anything but
    texts becomes its JSON. With `split`, a record is split into passages later.
    """

    text_field: str
    text_column: str | None = None  # the column that becomes `text_field`, or several: `a,b`
    id_column: str | None = None
    flatten: bool = True
    flags: bool = True
    text_template: str | None = None  # the text, with columns in braces
    split: bool = False
    only_namespace: str | None = None  # of the lines that name one

    def text_columns(self, columns: Collection[str]) -> tuple[str, ...]:
        """The columns that the text is made of; `columns` are those that there are."""
        if self.text_template:
            return template_names(self.text_template)
        return split_names(self.text_column or self.text_field, columns)

    def not_valid(self, encoding: str) -> str:
        """The reason for a text that can't be decoded."""
        example = f"such as {self.named('encoding')}{' ' if self.flags else '='}windows-1251"
        return f"is not valid {encoding.upper()}: say which encoding it has, {example}"

    def named(self, option: str) -> str:
        """The name of an option on the command line, or in the API."""
        return "--" + option.replace("_", "-") if self.flags else option

    def record(
        self,
        where: str,
        given: Mapping[str, Any],
        line: int | None = None,
        after: Position = START,
    ) -> Item:
        """The record, or the error that makes it invalid."""
        try:
            namespace = None
            if NAMESPACE_FIELD in given:
                namespace = _namespace(given[NAMESPACE_FIELD], self.only_namespace)
                given = {name: each for name, each in given.items() if name != NAMESPACE_FIELD}
            fields = self._fields(given)
        except InvalidRecord as exc:
            return RecordError(where, str(exc), line, after)
        except RecursionError:
            return RecordError(where, "is nested too deeply", line, after)
        return Record(where, fields, estimated_size(fields), line, after, namespace)

    def _fields(self, given: Mapping[str, Any]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, value in self._flat(given):
            if name in fields:
                raise InvalidRecord(f"has the field {name!r} twice: as it is, and nested")
            fields[name] = value
        self._set_text(fields)
        id = self._take_id(fields)
        for name, value in fields.items():
            _check(name, value, self.named("flatten"))
        self._check_text_length(fields[self.text_field])
        return {"_id": content_id(fields) if id is None else id, **fields}

    def _set_text(self, fields: dict[str, Any]) -> None:
        """Rename the field that is the text, or make the text of several fields."""
        names = self.text_columns(fields)
        if self.text_field in fields and self.text_field not in names:
            present = next((name for name in names if name in fields), None)
            if present is not None:
                raise InvalidRecord(
                    f"has both {present!r} and {self.text_field!r}: which one is the text?"
                )
        if self.text_template:
            fields[self.text_field] = fill_template(self.text_template, fields)
        elif len(names) > 1:
            fields[self.text_field] = join(names, fields)
        elif names[0] in fields and names[0] != self.text_field:
            fields[self.text_field] = fields.pop(names[0])
        text = fields.get(self.text_field)
        if not isinstance(text, str) or not text.strip():
            shown = " or ".join(map(repr, names))
            option = "text_template" if self.text_template else "text_field"
            raise InvalidRecord(
                f"has no text: {shown} must be a text ({self.named(option)} names another field)"
            )

    def _check_text_length(self, text: str) -> None:
        if self.split or len(text) * 4 <= MAX_FIELDS_BYTES:
            return
        if (length := len(text.encode())) > MAX_FIELDS_BYTES:
            raise InvalidRecord(
                f"has a text of {length:,} bytes, and a record has at most {MAX_FIELDS_BYTES:,}: "
                f"{self.named('split')} splits it into passages"
            )

    def _flat(self, given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        """The fields without nulls, and with `flatten` without objects."""
        for name, value in given.items():
            if isinstance(value, Mapping):
                if not self.flatten:
                    raise InvalidRecord(
                        f"{prefix}{name}: is an object; "
                        f"{self.named('flatten')} makes fields with dotted names"
                    )
                yield from self._flat(value, f"{prefix}{name}.")
            elif self.flatten and _is_other_list(value):
                yield prefix + name, _json(prefix + name, value)
            elif value is not None:
                yield prefix + name, value

    def _take_id(self, fields: dict[str, Any]) -> str | None:
        if self.id_column:
            if self.id_column not in fields:
                raise InvalidRecord(f"has no id: {self.id_column!r} is missing or empty")
            return _id(self.id_column, fields.pop(self.id_column))
        ids = {name: _id(name, fields.pop(name)) for name in ("_id", "id") if name in fields}
        if len(set(ids.values())) > 1:
            raise InvalidRecord(
                f"has an _id and an id that differ: {self.named('id_field')} says which one it is"
            )
        return next(iter(ids.values()), None)


def estimated_size(fields: Mapping[str, Any]) -> int:
    """About how many bytes the JSON of a record takes, without encoding it.

    Escapes are not counted. A batch that is too large after all is refused and split.
    """
    size = 2
    for name, value in fields.items():
        size += len(name) + PUNCTUATION
        for part in value if isinstance(value, list) else (value,):
            if not isinstance(part, str):
                size += NUMBER_SIZE
            else:
                size += PUNCTUATION + (len(part) if part.isascii() else len(part.encode()))
    return size


def content_id(fields: Mapping[str, Any]) -> str:
    """An id that is a hash of the record: the same record always has the same id."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def _namespace(value: Any, only: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidRecord(f"{NAMESPACE_FIELD}: must be a text, the name of a namespace")
    if only not in {None, value}:
        raise InvalidRecord(f"{NAMESPACE_FIELD}: the key of this import allows only {only}")
    try:
        return check_namespace(value)
    except ValueError as exc:
        raise InvalidRecord(f"{NAMESPACE_FIELD}: {exc}") from None


def _id(name: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_WHOLE:
        return str(value)
    if not isinstance(value, str):
        raise InvalidRecord(f"{name}: an id is a text or a whole number")
    _check_text(name, value)
    if not 0 < len(value) <= MAX_ID_LENGTH:
        raise InvalidRecord(f"{name}: an id has 1 to {MAX_ID_LENGTH} characters")
    return value


def _json(name: str, value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise InvalidRecord(f"{name}: holds a number that is too large") from None


def _is_other_list(value: Any) -> bool:
    return isinstance(value, list) and not all(isinstance(each, str) for each in value)


def _check(name: str, value: Any, flatten: str) -> None:
    if not name:
        raise InvalidRecord("has a field without a name")
    _check_text("a field's name", name)
    if isinstance(value, str):
        _check_text(name, value)
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        if not -MAX_WHOLE <= value < MAX_WHOLE:
            raise InvalidRecord(
                f"{name}: is a whole number of more than 64 bits; write it as a text"
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRecord(f"{name}: is too large for a number")
    elif isinstance(value, list) and all(isinstance(each, str) for each in value):
        for each in value:
            _check_text(name, each)
    elif isinstance(value, list):
        raise InvalidRecord(
            f"{name}: must be a text, a number, true, false or a list of texts; "
            f"{flatten} keeps any other list as JSON"
        )
    else:
        raise InvalidRecord(f"{name}: must be a text, a number, true, false or a list of texts")


def _check_text(name: str, value: str) -> None:
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRecord(
            f"{_shown(name)}: holds half of a surrogate pair, which is no text"
        ) from None


def _shown(name: str) -> str:
    return name.encode(errors="replace").decode()
