"""Where finished spans go when they go into a file, and who takes them there."""

import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

KEPT: Final = 2048
DELAY_SECONDS: Final = 0.5
LEAVE_SECONDS: Final = 5.0


class SpanTaker(SpanProcessor):
    """Takes finished spans to an exporter, in a thread of its own, half a second after the first of them.

    The SDK's own batches look twice a second whether there are any, in every process. Of more than `KEPT` that wait,
    the oldest are lost.
    """

    def __init__(self, exporter: SpanExporter, *, delay_seconds: float = DELAY_SECONDS) -> None:
        self._exporter = exporter
        self._delay = delay_seconds
        self._waiting: deque[ReadableSpan] = deque(maxlen=KEPT)
        self._some, self._leaving = threading.Event(), threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it until it is taken, unless its trace is not sampled."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._waiting.append(span)
            self._some.set()

    def shutdown(self) -> None:
        """Take what is left, and end."""
        self._leaving.set()
        self._some.set()
        self._thread.join(LEAVE_SECONDS)
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Take what there is, now."""
        del timeout_millis
        with self._turn:
            spans = [self._waiting.popleft() for _ in range(len(self._waiting))]
            return not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS

    def _run(self) -> None:
        while not self._leaving.is_set():
            self._some.wait()
            self._leaving.wait(self._delay)
            self._some.clear()
            self.force_flush()


class FileExporter(SpanExporter):
    """Appends each finished span to a file as one JSON line; beyond 32 MiB the file becomes `FILE.1`, once."""

    def __init__(self, path: str, *, limit_bytes: int = 32 * 1024 * 1024) -> None:
        self._path = Path(path)
        self._limit = limit_bytes

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append `spans`; a full disk loses spans, never work."""
        text = "".join(f"{item.to_json(indent=None)}\n" for item in spans)
        try:
            with self._path.open("ab", buffering=0) as file:
                file.write(text.encode())
                size = file.tell()
            if size > self._limit:
                self._path.replace(f"{self._path}.1")
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS
