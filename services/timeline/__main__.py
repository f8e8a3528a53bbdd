"""`python -m services.timeline`."""

from libs.common.process import run
from services.timeline.tables import SCHEMA
from services.timeline.wiring import wire


def main() -> None:
    """Run the timeline until it is told to stop. It publishes no facts, so it has no outbox to relay."""
    run("timeline", wire, schema_name=SCHEMA, relay=False)


if __name__ == "__main__":
    main()
