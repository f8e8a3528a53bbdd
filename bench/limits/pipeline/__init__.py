"""A bare prototype of the product's whole path, to find what the machine can carry.

Alert → incident and execution rows (with outbox) → step jobs on a Redis stream → worker → result on JetStream →
execution advanced (with outbox) → … five times → every event chained by SHA-256 into a timeline table. Batches
throughout, one transaction a batch, no ORM; exactly-once effects by a table of what was seen and guarded updates. No
policy, leases, locks, authentication or telemetry: what these cost is the distance of the product from this.
"""
