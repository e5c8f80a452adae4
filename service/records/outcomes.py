"""What became of a write, in sentences for whoever asked for it.

Knows the errors of each index by record; nothing of how they came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.errors import InvalidField, InvalidRequest, RequestError
from service.records.checking import Checked, Failure
from service.records.sending import Errors

MAX_FAULTS = 20


def half_deleted(error: RequestError, outcomes: Sequence[object]) -> RequestError:
    if all(isinstance(outcome, BaseException) for outcome in outcomes):
        return error
    detail = f"{error.detail}. The other index has deleted them: send this again"
    return type(error)(detail, invalid_fields=error.invalid_fields, retry_after=error.retry_after)


def failure(record: Checked, told: Mapping[str, Errors]) -> Failure:
    """What each index said of one record; that another one took it is part of it."""
    errors = {name: each[record.position] for name, each in told.items() if record.position in each}
    details = list(dict.fromkeys(error.detail for error in errors.values()))
    if took := [name for name in told if name not in errors]:
        details.append(f"{took[0]} took it, so some searches find it; send it again")
    first = next(iter(errors.values()))
    return Failure(record.position, record.id, first.code, "; ".join(details))


def first_error(errors: Sequence[Errors]) -> RequestError | None:
    return next((error for each in errors for error in each.values()), None)


def nothing_written(failures: Sequence[Failure], error: RequestError | None) -> RequestError:
    """The error of the whole: the backend's where it was asked, else that nothing is valid."""
    faults = [InvalidField((each.position,), each.detail) for each in failures[:MAX_FAULTS]]
    if not faults:
        return InvalidRequest("There is no record in this request")
    if error is None:
        sentence = f"No record was written. Record {faults[0].loc[0]}: {faults[0].msg}"
        return InvalidRequest(sentence, invalid_fields=faults)
    detail = f"No record was written. {error.detail}"
    return type(error)(detail, invalid_fields=faults, retry_after=error.retry_after)
