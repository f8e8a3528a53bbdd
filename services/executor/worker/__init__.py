"""A worker: hears hints, claims, acts, settles. Any number of them; each may die at any line.

Two commits a step (`claims.py`, `settlement.py`), each for whatever has arrived since the last one. Leases are renewed
while actions run; a lease that could not be renewed in time stops its action here before it ends there.
"""
