"""What the public face counts. A route is its template; what matches none is `unmatched`."""

from typing import Final

from prometheus_client import Counter, Histogram

REQUESTS: Final = Histogram(
    "ranger_gateway_seconds",
    "Requests answered",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ALERTS: Final = Counter("ranger_gateway_alerts_total", "Alerts in stored webhook posts", ["subject"])
