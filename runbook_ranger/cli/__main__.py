"""`python -m runbook_ranger.cli` is `rangerctl`."""

from runbook_ranger.cli import main

main()
