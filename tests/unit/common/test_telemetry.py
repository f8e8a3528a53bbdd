"""Spans in traces that are sampled, and in those that are not, where they may cost nothing."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from libs.common import telemetry

TRACE, SPAN = "a" * 32, "b" * 16
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    provider, kept = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    monkeypatch.setattr(telemetry, "_TRACER", provider.get_tracer("test"))
    yield kept
    provider.shutdown()


def test_a_sampled_trace_goes_on_with_a_span_of_its_own(spans: InMemorySpanExporter) -> None:
    with telemetry.span("outer", parent=SAMPLED), telemetry.span("inner"):
        inside = telemetry.traceparent()
    told = telemetry.record("batched", parent=SAMPLED, start_ns=1, failed="no")

    assert [each.name for each in spans.get_finished_spans()] == ["inner", "outer", "batched"]
    assert {each.context.trace_id for each in spans.get_finished_spans()} == {int(TRACE, 16)}
    assert len({inside, told, SAMPLED}) == 3


def test_an_unsampled_trace_is_handed_on_as_it_came(spans: InMemorySpanExporter) -> None:
    with telemetry.span("outer", parent=UNSAMPLED), telemetry.span("inner", attributes={"a": "b"}) as inner:
        assert telemetry.traceparent() == UNSAMPLED
        assert not inner.is_recording()
    assert telemetry.traceparent() == ""

    assert telemetry.record("batched", parent=UNSAMPLED, start_ns=1) == UNSAMPLED
    assert spans.get_finished_spans() == ()


def test_what_goes_wrong_inside_comes_out(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ZeroDivisionError), telemetry.span("outer", parent=UNSAMPLED):
        raise ZeroDivisionError
    assert not trace.get_current_span().get_span_context().is_valid
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("broken", ["", "00", f"00-{'0' * 32}-{SPAN}-00", f"ff-{TRACE}-{SPAN}-00x"])
def test_a_broken_parent_begins_a_trace(spans: InMemorySpanExporter, broken: str) -> None:
    told = telemetry.parse_traceparent(telemetry.record("alone", parent=broken, start_ns=1))
    assert told is not None
    assert told.trace_flags.sampled
    with telemetry.span("alone too", parent=broken) as span:
        assert span.is_recording()
    assert len(spans.get_finished_spans()) == 2
