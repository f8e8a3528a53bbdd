"""`python -m services.catalog`."""

from libs.common.process import run
from services.catalog.wiring import wire


def main() -> None:
    """Run until SIGTERM."""
    run("catalog", wire)


if __name__ == "__main__":
    main()
