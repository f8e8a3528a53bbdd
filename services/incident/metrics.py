"""What the incident service measures. Observed when the last row of a change is written: a transaction that is lost
after that and done again is observed twice; the records in the database are not.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_LONG: Final = (
    *(1, 5, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 20, 30)),
    *(hours * _HOUR for hours in (1, 2, 4, 8, 24, 72)),
)

OPEN: Final = Gauge("incidents_open_total", "Incidents not resolved yet, seen at the last look", ["severity"])
MTTA: Final = Histogram("incidents_mtta_seconds", "From opening to someone or something taking it up", buckets=_LONG)
MTTR: Final = Histogram("incidents_mttr_seconds", "From opening to resolution", buckets=_LONG)
INGESTED: Final = Counter("alerts_ingested_total", "Reports of alerts folded in, by outcome", ["outcome"])
