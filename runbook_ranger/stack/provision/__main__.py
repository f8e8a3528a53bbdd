"""`python -m runbook_ranger.stack.provision`."""

from runbook_ranger.stack.provision import main

main()
