"""What the exporter shows of itself; alert on `behind_seconds`."""

from typing import Final

from prometheus_client import Counter, Gauge

SIZE: Final = Gauge("ranger_export_size", "Leaves that the target holds, from the log's first one on")
BEHIND: Final = Gauge("ranger_export_behind", "Leaves under a checkpoint that the target does not hold")
BEHIND_SECONDS: Final = Gauge("ranger_export_behind_seconds", "For how long the oldest of them has been under one")
EXPORTING: Final = Gauge("ranger_export_exporting", "1 where the last look at log and target went well")
SEGMENTS: Final = Counter("ranger_export_segments_total", "Segments that this process wrote")
