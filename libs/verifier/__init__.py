"""Verifies files of the log offline: bundles, exports, published tiles, single proofs. No service, no network.

`python -m libs.verifier FILE|DIR --vkey VKEY` needs this package, `libs.tlog`, cryptography and orjson.

- `reading`: what a file or folder is, and its verification
- `verdict`: what was verified, for people and for programs
"""
