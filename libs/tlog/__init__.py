"""The tamper-evident log: leaves, chains, tree and verifier. Pure: no I/O, no clock, no randomness.

An auditor needs this package, `cryptography` and orjson, the exported leaves and payloads, and nothing of ours that
runs. (`leaf` and `chain`, which only append, want msgspec as well.)

- `profile`: the canonical JSON that leaves are written in
- `hashing`, `shape`: the hashes, and the rules of each kind of leaf, which builder and verifier share
- `leaf`, `chain`: how leaves are made: stream messages in order -> leaves, hashes and new chain heads
- `tree`: the RFC 6962 frontier and root
- `proofs`: inclusion and consistency, made and verified
- `note`, `secretkey`, `checkpoint`: keys, signatures, and what a log signs (C2SP)
- `tiles`, `growth`: the log as static files (C2SP tlog-tiles), and as it grows
- `tlogproof`: proofs that stand alone, as files and as JSON
- `walk`, `usual`: reads leaves in order and names the first thing that does not hold
- `verify`: a stored log, compared with what the store says of it
- `export`: the log as lines of JSON
- `bundle`, `manifest`, `dsse`, `archive`: an incident's evidence as files and as one; `inspection` verifies it
"""
