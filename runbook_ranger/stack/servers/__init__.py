"""Starters of the three servers: Postgres, Valkey and NATS, as children that cannot outlive us."""
