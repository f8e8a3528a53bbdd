"""`python -m services.timeline.exporter`."""

from libs.common.process import run
from services.timeline.exporter.wiring import wire
from services.timeline.tables import SCHEMA


def main() -> None:
    """Export until it is told to stop."""
    run("exporter", wire, schema_name=SCHEMA, relay=False)


if __name__ == "__main__":
    main()
