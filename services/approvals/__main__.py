"""`python -m services.approvals`."""

from libs.common.process import run
from services.approvals.wiring import wire


def main() -> None:
    """Run until SIGTERM."""
    run("approvals", wire, by_key=True)


if __name__ == "__main__":
    main()
