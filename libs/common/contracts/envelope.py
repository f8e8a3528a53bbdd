"""The envelope of a fact: CloudEvents 1.0 in binary mode (attributes in headers, the body is the raw payload)."""

import base64
import binascii
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final

import orjson
from msgspec import Struct, field
from msgspec.structs import force_setattr

from libs.common.contracts.marking import UNMARKED, Marking

SPEC_VERSION: Final = "1.0"
SALT_BYTES: Final = 32
MAX_REFS: Final = 16
MAX_VERSION: Final = 2**63 - 1
CONTENT_TYPE: Final = "application/json"


class MalformedEnvelope(ValueError):
    """A message's headers are not a fact's; the text names the header."""


class Ref(Struct, frozen=True, order=True):
    """An object in the object store: `kind` is spec, evidence, output, approval or bundle, `sha256` 64 hex digits."""

    kind: str
    sha256: str
    length: int

    def to_wire(self) -> dict[str, str]:
        """As it stands in the header `Rr-Refs` and in the leaf: strings only."""
        return {"k": self.kind, "len": str(self.length), "sha256": self.sha256}


class Envelope(Struct, frozen=True, kw_only=True):
    """Who said what about which aggregate, for whom, and because of what.

    `time` is RFC 3339 in UTC with six digits. `tenants` is sorted and contains `tenant`, the owner.
    `aggregate_version` counts the facts of one aggregate from 1 without gaps. `salt` is 32 random bytes, made once by
    the producer and kept with its outbox row, so that a published commitment reveals nothing of the payload.
    `marking` says who may see it beside its tenants; lists and streams go by it, the leaf leaves it out.
    """

    id: str
    type: str
    source: str
    time: str
    aggregate_type: str
    aggregate_id: str
    aggregate_version: int
    tenant: str
    actor: str
    correlation: str
    tenants: tuple[str, ...] = ()
    causation: str = ""
    incident_id: str = ""
    execution_id: str = ""
    runbook_id: str = ""
    schema: str = ""
    refs: tuple[Ref, ...] = ()
    traceparent: str = ""
    marking: Marking = UNMARKED
    salt: bytes = field(default_factory=lambda: os.urandom(SALT_BYTES))

    def __post_init__(self) -> None:
        """Keep the promises of the leaf profile here, where the producer can still mend them."""
        if len(self.salt) != SALT_BYTES:
            raise MalformedEnvelope(f"salt must be {SALT_BYTES} bytes, not {len(self.salt)}")
        if len(self.refs) > MAX_REFS:
            raise MalformedEnvelope(f"at most {MAX_REFS} refs, not {len(self.refs)}")
        texts = "".join(_texts_of(self))  # one look, since every message passes here twice
        if not texts.isprintable():
            _check_texts(zip(_TEXT_HEADERS, _texts_of(self), strict=True))
        alone = self.tenants == (self.tenant,)
        if "," in self.tenant or (not alone and any(map(_ill_named, self.tenants))):
            raise MalformedEnvelope("a tenant's name contains a comma, control characters, or what is no Unicode")
        if not 1 <= self.aggregate_version <= MAX_VERSION:
            raise MalformedEnvelope(f"ce-aggregateversion must lie between 1 and {MAX_VERSION}")
        if not alone:
            force_setattr(self, "tenants", tuple(sorted({self.tenant, *self.tenants})))
        if self.refs:
            force_setattr(self, "refs", tuple(sorted(self.refs)))

    def to_headers(self) -> dict[str, str]:
        """NATS headers; `Nats-Msg-Id` is the event's id, so that a publish repeated in the window is dropped."""
        headers = {
            "Nats-Msg-Id": self.id,
            "Content-Type": CONTENT_TYPE,
            "ce-specversion": SPEC_VERSION,
            "Rr-Salt": base64.b64encode(self.salt).decode(),
            "ce-tenants": ",".join(self.tenants),
            "ce-aggregateversion": str(self.aggregate_version),
        }
        for header, attribute in _TEXT_HEADERS.items():
            value = getattr(self, attribute)
            if value:
                headers[header] = value
        if self.marking != UNMARKED:
            headers |= _marking_headers(self.marking)
        if self.refs:
            headers["Rr-Refs"] = _spelled(self.refs)
        return headers

    @classmethod
    def from_headers(cls, headers: Mapping[str, str] | None) -> "Envelope":
        """The envelope that `to_headers` wrote.

        Raises:
            MalformedEnvelope: a header is missing or not in its form.
        """
        if not headers:
            raise MalformedEnvelope("no headers: not a CloudEvent in binary mode")
        if headers.get("ce-specversion") != SPEC_VERSION:
            raise MalformedEnvelope(f"ce-specversion must be {SPEC_VERSION}")
        told = {**_ABSENT, **headers}
        texts = _values_of(told)
        if not all(texts[:_REQUIRED]):
            raise MalformedEnvelope(f"header {tuple(_TEXT_HEADERS)[texts.index('')]} is missing")
        return cls(
            **dict(zip(_TEXT_HEADERS.values(), texts, strict=True)),
            aggregate_version=_positive(told["ce-aggregateversion"]),
            tenants=tuple([tenant for tenant in told["ce-tenants"].split(",") if tenant]),
            marking=_marking(told[_ENVIRONMENT], told[_CLEARANCE]),
            refs=_refs(told["Rr-Refs"]),
            salt=_salt(told["Rr-Salt"]),
        )


_ENVIRONMENT: Final = "ce-environment"
_CLEARANCE: Final = "ce-clearance"
_OTHER_HEADERS: Final = (
    "Nats-Msg-Id", "Content-Type", "ce-specversion", "Rr-Salt", "ce-tenants", "ce-aggregateversion", "Rr-Refs",
    _ENVIRONMENT, _CLEARANCE,
)  # fmt: skip
_TEXT_HEADERS: Final[Mapping[str, str]] = {
    "ce-id": "id",
    "ce-type": "type",
    "ce-source": "source",
    "ce-time": "time",
    "ce-aggregatetype": "aggregate_type",
    "ce-aggregateid": "aggregate_id",
    "ce-tenant": "tenant",
    "ce-actor": "actor",
    "ce-correlationid": "correlation",
    "ce-causationid": "causation",
    "ce-incidentid": "incident_id",
    "ce-executionid": "execution_id",
    "ce-runbookid": "runbook_id",
    "ce-dataschema": "schema",
    "traceparent": "traceparent",
}
HEADERS: Final = (*_TEXT_HEADERS, *_OTHER_HEADERS)
"""Every header that a fact may have."""
_texts_of: Final = attrgetter(*_TEXT_HEADERS.values())
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
"""What neither a header nor a text column carries as it is."""
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
"""What `wire.decode` makes of bytes that are no UTF-8."""
_REQUIRED: Final = 9
"""How many of the texts, the first ones, no fact is without."""
_values_of: Final = itemgetter(*_TEXT_HEADERS)
_ABSENT: Final = dict.fromkeys(HEADERS, "")


def _check_texts(texts: Iterable[tuple[str, str]]) -> None:
    for header, text in texts:
        if _CONTROL.search(text):
            raise MalformedEnvelope(f"header {header} contains control characters")
        if _SURROGATE.search(text):
            raise MalformedEnvelope(f"header {header} is not UTF-8")


def _ill_named(tenant: str) -> bool:
    return "," in tenant or bool(_CONTROL.search(tenant) or _SURROGATE.search(tenant))


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or text.startswith("0") or len(text) > len(str(MAX_VERSION)):
        raise MalformedEnvelope("header ce-aggregateversion must be a positive integer")
    return int(text)


def _marking_headers(marking: Marking) -> dict[str, str]:
    found = {_ENVIRONMENT: marking.environment, _CLEARANCE: str(marking.clearance or "")}
    return {header: value for header, value in found.items() if value}


def _marking(environment: str, clearance: str) -> Marking:
    if not environment and not clearance:
        return UNMARKED
    try:
        return Marking(environment, int(clearance or "0"))
    except ValueError as error:
        raise MalformedEnvelope(f"headers {_ENVIRONMENT} and {_CLEARANCE}: {error}") from None


def _spelled(refs: Iterable[Ref]) -> str:
    return orjson.dumps([ref.to_wire() for ref in refs]).decode()


def _salt(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise MalformedEnvelope("header Rr-Salt is not base64") from None


def _refs(text: str) -> tuple[Ref, ...]:
    if not text:
        return ()
    try:
        items: Sequence[Any] = orjson.loads(text)
        refs = tuple(Ref(kind=str(i["k"]), sha256=str(i["sha256"]), length=int(i["len"])) for i in items)
        spelled = _spelled(refs)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise MalformedEnvelope("header Rr-Refs is not a JSON list of {k, len, sha256}") from None
    if spelled != text:  # a key that occurs twice, a number that is another one in another reader
        raise MalformedEnvelope("header Rr-Refs is not in its one spelling")
    return refs
