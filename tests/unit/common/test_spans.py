"""Finished spans reach the exporter, each once, and the process's end waits for the last of them."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler

from libs.common.spans import KEPT, SpanTaker


class Shelf(SpanExporter):
    """Keeps the names of what it gets."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.closed = True


def told(shelf: Shelf, *names: str, delay: float = 0.0, sampler: Sampler | None = None) -> TracerProvider:
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SpanTaker(shelf, delay_seconds=delay))
    for name in names:
        with provider.get_tracer("test").start_as_current_span(name):
            pass
    return provider


def test_what_has_ended_is_taken_in_order_and_the_end_waits_for_it() -> None:
    shelf = Shelf()

    told(shelf, "one", "two", "three", delay=3600).shutdown()

    assert (shelf.names, shelf.closed) == (["one", "two", "three"], True)


def test_a_flush_takes_what_there_is_now() -> None:
    shelf = Shelf()
    provider = told(shelf, "one", delay=3600)

    assert provider.force_flush()

    assert shelf.names == ["one"]
    provider.shutdown()


def test_a_trace_that_is_not_sampled_is_not_taken() -> None:
    shelf = Shelf()

    told(shelf, "one", sampler=ALWAYS_OFF).shutdown()

    assert shelf.names == []


def test_of_too_many_the_oldest_are_lost() -> None:
    shelf = Shelf()

    told(shelf, *map(str, range(KEPT + 2)), delay=3600).shutdown()

    assert (len(shelf.names), shelf.names[0]) == (KEPT, "2")
