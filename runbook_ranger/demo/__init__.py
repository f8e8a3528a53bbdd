"""The demo: a target that can be made ill, tells an alerter so, and keeps a ledger of everything done to it."""
