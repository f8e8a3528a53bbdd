"""As much of an OpenTelemetry collector as a test needs: obeys the same file, decodes OTLP, prints a line a batch."""

import gzip
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

OPTION = "--config="


def check(config: Mapping[str, Any]) -> None:
    """Refuse what the collector refuses: a pipeline or extension list that names what is not there."""
    service = config["service"]
    for kind in ("receivers", "processors", "exporters"):
        missing = set(service["pipelines"]["traces"][kind]) - set(config[kind])
        if missing:
            sys.exit(f"the pipeline's {kind} {sorted(missing)} are not there")
    if set(service["extensions"]) - set(config["extensions"]):
        sys.exit("an extension is not there")


def address(endpoint: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = endpoint.rpartition(":")
    return host, int(port)


class Traces(BaseHTTPRequestHandler):
    """POST /v1/traces."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            show(ExportTraceServiceRequest.FromString(body))
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing a request."""


class Health(BaseHTTPRequestHandler):
    """Up is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def show(request: ExportTraceServiceRequest) -> None:
    """A line for each process's spans: its name, how many, and their traces."""
    for resource in request.resource_spans:
        names = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
        spans = [span for scope in resource.scope_spans for span in scope.spans]
        traces = sorted({span.trace_id.hex() for span in spans})
        sys.stdout.write(f"traces service.name={names[0]} spans={len(spans)} trace_ids={','.join(traces)}\n")


def main() -> None:
    """Serve until stopped."""
    file = next(argument.removeprefix(OPTION) for argument in sys.argv[1:] if argument.startswith(OPTION))
    config = yaml.safe_load(Path(file).read_text())
    check(config)
    health = ThreadingHTTPServer(address(config["extensions"]["health_check"]["endpoint"]), Health)
    Thread(target=health.serve_forever, daemon=True).start()
    ThreadingHTTPServer(address(config["receivers"]["otlp"]["protocols"]["http"]["endpoint"]), Traces).serve_forever()


main()
