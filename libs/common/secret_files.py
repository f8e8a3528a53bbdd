"""Variables whose value may stand in a file: `RR_X`, or the content of the file that `RR_X_FILE` names.

How secrets reach a container: a file can be mounted, rotated and left out of `docker inspect`; a variable cannot.
Light on purpose: provisioning and the supervisor need nothing else of the settings.
"""

import os
from pathlib import Path


class UnreadableVariable(ValueError):
    """A variable cannot be had from its file; the text never holds a value.

    Either the file cannot be read or is empty, or both `RR_X` and `RR_X_FILE` are set and nobody says which was meant.
    """


def variable(name: str) -> str | None:
    """The variable `name`, or what the file that `{name}_FILE` names holds, without the line end; None without both.

    Raises:
        UnreadableVariable: both are set, or the file cannot be read as UTF-8 text, or is empty.
    """
    value, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if not file:
        return value
    if value:
        raise UnreadableVariable(f"{name} and {name}_FILE are both set; only one may be")
    try:
        content = Path(file).read_text().rstrip("\r\n")
    except OSError as error:
        raise UnreadableVariable(f"{name}_FILE: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableVariable(f"{name}_FILE: {file} is not UTF-8 text") from None
    if not content:
        raise UnreadableVariable(f"{name}_FILE: {file} is empty")
    return content
