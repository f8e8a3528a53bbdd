"""How `rangerctl` says no, and the exit codes that scripts may rely on.

    CliError              1  the answer is no: refused, not verified, ended without success
    ├── WrongUsage        2  the command line, or a file that it names, cannot be used
    ├── NotReachable      3  nobody answered, or not in time; whether a change took effect is not known
    └── NotAuthorised     4  no token, an unknown one, or one that may not do this

0 is success and nothing else.
"""

from typing import ClassVar


class CliError(Exception):
    """Ends the command with `exit_code`; the text and the line that says what to do go to standard error."""

    exit_code: ClassVar[int] = 1

    def __init__(self, text: str, *, fix: str = "", trace: str = "") -> None:
        super().__init__(text)
        self.text, self.fix, self.trace = text, fix, trace

    def lines(self) -> list[str]:
        """What a person reads."""
        trace = f"`rangerctl trace {self.trace}` shows how far it came." if self.trace else ""
        return [line for line in (self.text, self.fix, trace) if line]


class WrongUsage(CliError):
    """The command line, or a file that it names, cannot be used."""

    exit_code = 2


class NotReachable(CliError):
    """Nobody answered, or not in time."""

    exit_code = 3


class NotAuthorised(CliError):
    """No token, an unknown one, or one that may not do this."""

    exit_code = 4
