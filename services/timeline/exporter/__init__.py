"""Copies the log to a folder or bucket for long keeping, segment after segment, for as long as it runs.

What the target holds is all that it remembers. Each segment is made once, under a name of its first leaf, and never
replaced: a bucket with Object Lock suits. Before a segment its marks are written, which also say where it ends: so a
crash at any step, or a second exporter, writes the same bytes or none.

Reads the timeline's schema with a role that can read nothing else; asks nobody and answers nobody.
"""
