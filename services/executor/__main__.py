"""`python -m services.executor`."""

from libs.common.process import run
from services.executor.wiring import wire


def main() -> None:
    """Run the executor."""
    run("executor", wire, by_key=True)


if __name__ == "__main__":
    main()
