"""Makes the log again in an empty schema: from exports, from what is published, and from the stream.

Exports hold leaves and payloads, and beside them how events are marked. What they lack to the published checkpoint
stands in the published tiles, leaf by leaf, what the log said of itself included; payloads of those are in the stream.
Behind that the stream goes on, for the writer itself.

All of it is verified before a row is written, and written in one transaction: a rebuild that is killed leaves nothing.
"""
