"""What services say to each other: the envelope, a payload class for each fact, and who listens to what.

Contracts change additively (new optional fields), or get a new version and an upcaster; golden files prove it.
"""
