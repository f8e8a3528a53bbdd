"""`python -m services.incident`."""

from libs.common.process import run
from services.incident.wiring import wire


def main() -> None:
    """Run until SIGTERM."""
    run("incident", wire)


if __name__ == "__main__":
    main()
