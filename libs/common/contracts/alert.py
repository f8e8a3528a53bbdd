"""What outsiders post: alerts, not yet facts. They come on INGRESS and the incident service turns them into facts.

Two bodies are understood: our own (`alert.event`, also as the data of a structured CloudEvent) and Alertmanager's
webhook, version 4 (`alert.alertmanager`). An alert's identity is (tenant, fingerprint, startsAt), never the bytes or
the id of the message that carried it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from libs.common.contracts.fact import MalformedPayload, describe

SUBJECT_EVENT: Final = "alert.event"
SUBJECT_ALERTMANAGER: Final = "alert.alertmanager"
MAX_BODY_BYTES: Final = 256 * 1024
MAX_ALERTS: Final = 200
MAX_TITLE: Final = 500
_Model = TypeVar("_Model", bound=BaseModel)
_NEVER: Final = datetime(1, 1, 2, tzinfo=UTC)
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)


def _plausible(moment: datetime) -> datetime:
    """In UTC, and far enough from the calendar's ends for any arithmetic."""
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError(f"must lie between {_EARLIEST.year} and {_LATEST.year}")
    return moment.astimezone(UTC)


def _plausible_or_never(moment: datetime) -> datetime | None:
    """Alertmanager's zero time means that it has not ended."""
    return None if moment <= _NEVER else _plausible(moment)


Start = Annotated[AwareDatetime, AfterValidator(_plausible)]
End = Annotated[AwareDatetime, AfterValidator(_plausible_or_never)] | None
LabelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$")]
LabelValue = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00]*$")]
Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=64)]
Annotations = Annotated[
    dict[LabelName, Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]], Field(max_length=32)
]
_SEVERITIES: Final[Mapping[str, str]] = {
    "critical": "critical",
    "page": "critical",
    "p0": "critical",
    "high": "high",
    "error": "high",
    "p1": "high",
    "medium": "medium",
    "warning": "medium",
    "p2": "medium",
    "low": "low",
    "info": "low",
    "none": "low",
    "p3": "low",
}


class Alert(BaseModel):
    """One alert, whoever sent it. `fingerprint` names the problem: by default Prometheus's hash of the labels.

    Moments are in UTC. A severity that the labels give in words of their own counts as medium; one that the body
    itself gives has to be one of ours.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", cache_strings="keys")

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
    status: Literal["firing", "resolved"] = "firing"
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    title: Annotated[str, StringConstraints(max_length=MAX_TITLE, pattern=r"^[^\x00]*$")] = ""
    labels: Labels = {}
    annotations: Annotations = {}
    starts_at: Start
    ends_at: End = None
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")] = ""

    @model_validator(mode="before")
    @classmethod
    def _from_labels(cls, data: Any) -> Any:
        """A body may name the alert and its severity by labels alone, as Prometheus does."""
        if not isinstance(data, dict):
            return data
        labels = data.get("labels")
        labels = labels if isinstance(labels, dict) else {}
        given = {key: value for key, value in data.items() if value not in (None, "")}
        named = {"name": labels.get("alertname"), "severity": _severity_of(labels), **given}
        severity = named["severity"]
        if isinstance(severity, str):
            named["severity"] = _SEVERITIES.get(severity.lower(), severity)
        return {key: value for key, value in named.items() if value is not None}

    @model_validator(mode="after")
    def _identify(self) -> "Alert":
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", label_fingerprint({"alertname": self.name, **self.labels}))
        return self


def _severity_of(labels: Mapping[str, Any]) -> str:
    return _SEVERITIES.get(str(labels.get("severity", "")).lower(), "medium")


class AlertmanagerAlert(BaseModel):
    """One element of an Alertmanager webhook's `alerts`."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True, cache_strings="keys")

    status: Literal["firing", "resolved"]
    labels: Labels
    annotations: Annotations = {}
    starts_at: Start = Field(alias="startsAt")
    ends_at: End = Field(default=None, alias="endsAt")
    fingerprint: str = ""


class AlertmanagerWebhook(BaseModel):
    """Alertmanager's webhook body, version 4."""

    model_config = ConfigDict(extra="ignore", cache_strings="keys")

    version: Literal["4"]
    alerts: Annotated[list[AlertmanagerAlert], Field(min_length=1, max_length=MAX_ALERTS)]


def parse_event(body: bytes) -> list[Alert]:
    """The alert in our own body, or in the `data` of a structured CloudEvent.

    Raises:
        MalformedPayload: not JSON, over a limit, or a field is missing or of another type.
    """
    data = _json_object(body)
    if "specversion" in data and isinstance(data.get("data"), dict):
        data = data["data"]
    return [_validated(Alert, data)]


def parse_alertmanager(body: bytes) -> list[Alert]:
    """The alerts of an Alertmanager webhook.

    Raises:
        MalformedPayload: as `parse_event`.
    """
    webhook = _validated(AlertmanagerWebhook, _json_object(body))
    return [
        _validated(
            Alert,
            {
                "name": item.labels.get("alertname", ""),
                "status": item.status,
                "title": item.annotations.get("summary", "")[:MAX_TITLE],
                "labels": item.labels,
                "annotations": item.annotations,
                "starts_at": item.starts_at,
                "ends_at": item.ends_at,
                "fingerprint": item.fingerprint,
            },
        )
        for item in webhook.alerts
    ]


PARSERS: Final = {SUBJECT_EVENT: parse_event, SUBJECT_ALERTMANAGER: parse_alertmanager}


def label_fingerprint(labels: Mapping[str, str]) -> str:
    """Prometheus's label-set fingerprint: FNV-1a, 64 bits, over sorted `name 0xff value 0xff`; 16 hex digits."""
    value = 0xCBF29CE484222325
    for name in sorted(labels):
        for byte in name.encode() + b"\xff" + labels[name].encode() + b"\xff":
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def _json_object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        raise MalformedPayload(f"body is {len(body)} bytes; the limit is {MAX_BODY_BYTES}")
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedPayload(f"not JSON: {error.msg} at byte {error.pos}") from None
    if not isinstance(data, dict):
        raise MalformedPayload("body must be a JSON object")
    return data


def _validated(model: type[_Model], data: Any) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise MalformedPayload(describe(error)) from None
