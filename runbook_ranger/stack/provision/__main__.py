"""`python -m runbook_ranger.stack.provision`."""

from runbook_ranger.stack.provision import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
