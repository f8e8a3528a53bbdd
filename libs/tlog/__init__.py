"""The tamper-evident log: leaves, chains, tree and verifier. Pure: no I/O, no clock, no randomness.

An auditor needs this package, the exported leaves and payloads, and nothing of ours that runs.

- `profile`: the canonical JSON that leaves are written in
- `leaf`, `shape`: the exact bytes of each kind of leaf, and the rules that builder and verifier share
- `chain`: stream messages in order -> leaves, hashes and new chain heads
- `tree`: the RFC 6962 frontier and root
- `proofs`: inclusion and consistency, made and verified
- `note`, `checkpoint`: keys, signatures, and what a log signs (C2SP)
- `tiles`: the log as static files (C2SP tlog-tiles)
- `verify`: reads a stored log and names the first thing that does not hold
"""
