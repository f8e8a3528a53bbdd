"""`python -m services.executor.worker`."""

from libs.common.process import run
from services.executor.worker.wiring import wire


def main() -> None:
    """Run one worker."""
    run("worker", wire, schema_name="executor", relay=False)


if __name__ == "__main__":
    main()
