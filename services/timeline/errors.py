"""Why the writer stops appending.

WriterStopped
├── TermLost   another writer took over; this one becomes the standby
└── Frozen     stream and log contradict each other: nothing is appended until somebody has looked
"""


class WriterStopped(Exception):
    """The writer appends nothing more in this term."""


class TermLost(WriterStopped):
    """The compare-and-set met another size or term: another writer has the log. Nothing was written."""


class Frozen(WriterStopped):
    """Appending would contradict what is stored. `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
