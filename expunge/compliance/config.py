"""Whose deadlines, and how much work a night can take: the `compliance` section of a scenario."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from expunge.compliance.deadlines import local_date, regulation_name
from expunge.compliance.moments import utc_now
from expunge.errors import ExpungeError


def _known_zone(name: str) -> str:
    try:
        local_date(utc_now(), name)
    except ExpungeError as error:
        raise ValueError(f"{error.message} {error.hint}") from error
    return name


def _known_regulation(name: str) -> str:
    try:
        return regulation_name(name)
    except ExpungeError as error:
        raise ValueError(f"{error.message} {error.hint}") from error


class ComplianceConfig(BaseModel):
    """The controller's calendar and capacity.

    timezone: IANA name; the day of receipt is the date there. holidays: days on which no period ends (GDPR) and that
    are no business days (CCPA). regulation: of requests that name none. nightly_capacity: retrainings that one
    scheduled run may cost, for the forecast; null: no limit. identity_types: which identities of an OpenDSR document
    the data can be compared with, and by which of their ids.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    holidays: tuple[date, ...] = ()
    regulation: Annotated[str, AfterValidator(_known_regulation)] = "gdpr"
    nightly_capacity: float | None = Field(default=None, gt=0)
    identity_types: dict[str, Literal["subject_id", "record_id"]] = {"controller_customer_id": "subject_id"}
