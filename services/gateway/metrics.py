"""What the public face counts. A route is its template; what matches none is `unmatched`."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Histogram(
    "ranger_gateway_seconds",
    "Requests answered",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ALERTS: Final = Counter("ranger_gateway_alerts_total", "Alerts in stored webhook posts", ["subject"])
REJECTED: Final = Counter("ranger_gateway_rejected_total", "Credentials that opened nothing", ["reason"])
BREAK_GLASS: Final = Counter("ranger_gateway_break_glass_total", "Times the sealed account was put to use")
KEY_FETCHES: Final = Counter(
    "ranger_gateway_key_fetches_total", "Fetches of identity providers' keys, by outcome", ["outcome"]
)
FILE_REFUSED: Final = Gauge(
    "ranger_gateway_file_refused", "1 while a settings file is malformed and its previous content holds", ["file"]
)
EVIDENCE_SWAPPED: Final = Counter(
    "ranger_gateway_evidence_swapped_total", "Times that an object was not what the log names: look for who changed it"
)
