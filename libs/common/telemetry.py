"""Logs, traces and metrics of a process. Ids go into spans and logs, never into metric labels or subjects.

A span's context travels as `traceparent` in NATS headers, Redis hints and outbox rows, so that one trace runs from an
alert to its timeline entry.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import structlog
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.util.types import AttributeValue

from libs.common.settings import ProcessSettings
from libs.common.spans import FileExporter, SpanTaker

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_SECRET_KEY: Final = re.compile(r"pass(word)?|secret|token|authorization|cookie|credential|api_?key", re.IGNORECASE)
_URL_USER: Final = re.compile(r"(\w+://)[^/\s]+@")
_NO_CONTEXT: Final = trace.INVALID_SPAN.get_span_context()

_TRACER: Final = trace.get_tracer("ranger")
"""Got once: getting a tracer costs more than a span, and this one follows whichever provider is set later."""

log: Final = structlog.stdlib.get_logger("ranger")


def set_up(service: str, settings: ProcessSettings) -> None:
    """Logs to standard output as JSON lines; spans to `trace_file` or an OTLP collector when one is named."""
    _set_up_logs(service, settings)
    provider = TracerProvider(
        resource=Resource.create({"service.name": service, "service.instance.id": settings.instance or service}),
        sampler=ParentBased(TraceIdRatioBased(settings.trace_sample)),
    )
    if settings.trace_file:
        provider.add_span_processor(SpanTaker(FileExporter(settings.trace_file)))
    if settings.otlp_endpoint:
        # Imported here: a megabyte of protobuf that only an operator with a collector pays for.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint)))
    trace.set_tracer_provider(provider)


def shut_down() -> None:
    """Send what spans are left."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        provider.shutdown()


@contextmanager
def span(
    name: str,
    *,
    parent: str = "",
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[str] = (),
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Iterator[trace.Span]:
    """A span under `parent` (a traceparent) or, without one, under the current span; errors mark it.

    In a trace that is not sampled it is the parent itself, which costs next to nothing.
    """
    context = None
    remote = parse_traceparent(parent)
    if remote is not None:
        above: trace.Span = trace.NonRecordingSpan(remote)
        context = set_span_in_context(above)
    else:
        above = trace.get_current_span()
    if above.get_span_context().is_valid and not above.get_span_context().trace_flags.sampled:
        token = context_api.attach(context or context_api.get_current())
        try:
            yield above
        finally:
            context_api.detach(token)
        return
    linked = [Link(found) for found in map(parse_traceparent, links) if found is not None]
    with _TRACER.start_as_current_span(
        name, context=context, kind=kind, links=linked, attributes=attributes
    ) as current:
        yield current


def record(name: str, *, parent: str, start_ns: int, failed: str = "", **attributes: AttributeValue) -> str:
    """A span that began at `start_ns` (Unix nanoseconds) and ends now; returns its traceparent.

    For work done in batches: each message's own trace gets its span, though one transaction served them all. In a trace
    that is not sampled there is no span, and the parent is what goes on.
    """
    remote = parse_traceparent(parent)
    if remote is not None and not remote.trace_flags.sampled:
        return parent
    context = set_span_in_context(trace.NonRecordingSpan(remote)) if remote is not None else None
    current = _TRACER.start_span(name, context=context, start_time=start_ns, attributes=attributes)
    if failed:
        current.set_status(StatusCode.ERROR, failed)
    current.end()
    return format_traceparent(current.get_span_context())


def traceparent() -> str:
    """The current span's context as a W3C traceparent; empty when there is none."""
    return format_traceparent(trace.get_current_span().get_span_context())


def format_traceparent(context: SpanContext) -> str:
    """W3C form; empty for an invalid context."""
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@lru_cache(maxsize=2048)
def parse_traceparent(text: str) -> SpanContext | None:
    """The remote context in `text`, or None where it is not one: a broken header never breaks a message."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def is_traceparent(text: str) -> bool:
    """Whether `parse_traceparent` finds a context in it."""
    return _TRACEPARENT.fullmatch(text) is not None


def is_sampled(traceparent: str) -> bool:
    """Whether what is done under it gets a span: it belongs to a trace, and to one that is kept."""
    found = None if traceparent.endswith("-00") else parse_traceparent(traceparent)
    return found is not None and found.trace_flags.sampled


def _set_up_logs(service: str, settings: ProcessSettings) -> None:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[settings.log_level.upper()]),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service, instance=settings.instance or service)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ranger").setLevel(settings.log_level.upper())


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """No secret reaches a log: values under telling names are dropped, user info in URLs is masked."""
    for key, value in event.items():
        event[key] = _redacted(key, value)
    return event


def _redacted(key: str, value: Any) -> Any:
    if _SECRET_KEY.search(key):
        return "***"
    if isinstance(value, str):
        return _URL_USER.sub(r"\1***@", value)
    if isinstance(value, Mapping):
        return {name: _redacted(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", inner) for inner in value]
    return value


def _add_trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
    return event
