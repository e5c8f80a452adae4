"""The outcome of an upsert for the caller: failures by record, and the error of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.errors import InvalidField, InvalidRequest, RequestError
from service.records.checking import CheckedRecord, RecordFailure
from service.records.upsert import Errors

MAX_LISTED = 20


def record_failure(record: CheckedRecord, errors_by_index: Mapping[str, Errors]) -> RecordFailure:
    """The errors of one record from each index, and whether another index took it."""
    errors = {
        name: each[record.position]
        for name, each in errors_by_index.items()
        if record.position in each
    }
    details = list(dict.fromkeys(error.detail for error in errors.values()))
    if took := [name for name in errors_by_index if name not in errors]:
        details.append(f"the {took[0]} index took it, so some searches find it; send it again")
    first = next(iter(errors.values()))
    return RecordFailure(record.position, record.id, first.code, "; ".join(details))


def first_error(errors: Sequence[Errors]) -> RequestError | None:
    return next((error for each in errors for error in each.values()), None)


def nothing_written(failures: Sequence[RecordFailure], error: RequestError | None) -> RequestError:
    """The error of an upsert that wrote no record: the index's, or that no record is valid."""
    invalid = [InvalidField((each.position,), each.detail) for each in failures[:MAX_LISTED]]
    if not invalid:
        return InvalidRequest("There is no record in this request")
    if error is None:
        sentence = f"No record was written. Record {invalid[0].loc[0]}: {invalid[0].msg}"
        return InvalidRequest(sentence, invalid_fields=invalid)
    detail = f"No record was written. {error.detail}"
    return type(error)(detail, invalid_fields=invalid, retry_after=error.retry_after)
