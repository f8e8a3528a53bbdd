"""Feature flags: which parts of the product a tenant has, changed while everything runs, and each change told."""
