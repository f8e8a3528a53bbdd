"""Shared plumbing: contracts, bus, outbox and inbox, database, policy seam, telemetry, settings.

Code enters only when a second service needs it. Nothing here decides anything about incidents or runbooks.
"""
