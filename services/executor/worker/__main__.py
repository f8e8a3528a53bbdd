"""`python -m services.executor.worker`."""

from libs.actions.privacy import hide_process
from libs.common.process import run
from services.executor.worker.wiring import wire


def main() -> None:
    """Run one worker; the commands it starts cannot read the credentials in its environment."""
    hide_process()
    run("worker", wire, schema_name="executor", relay=False, by_key=True)


if __name__ == "__main__":
    main()
