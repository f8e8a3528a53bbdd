"""`python -m services.gateway`: one gateway process."""

from libs.common.process import run
from services.gateway.wiring import wire


def main() -> None:
    """Serve until a signal; start as many as the load needs, on ports of their own."""
    run("gateway", wire)


if __name__ == "__main__":
    main()
