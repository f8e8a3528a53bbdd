"""What the library refuses.

ActionError
├── ArgumentsInvalid   the arguments do not fit the action's model (nothing was tried)
├── EffectRefused      the declared effect is not one that the action allows with these arguments
├── UnknownAction      no built-in and no plug-in has this name
├── CommandRefused     shell.run may not start this program or set this variable (nothing was started)
├── EgressRefused      the outbound policy forbids the address or the URL (nothing was sent)
└── EgressFailed       the call was allowed and did not come back with an answer
"""

from __future__ import annotations


class ActionError(Exception):
    """Base of the refusals of this library; `code` is stable and may be shown and counted."""

    code: str = "action_error"


class ArgumentsInvalid(ActionError):
    """The arguments do not fit; `problems` names places and reasons, never values."""

    code = "arguments_invalid"

    def __init__(self, name: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"arguments of {name} are invalid: {'; '.join(problems)}")
        self.problems = problems


class EffectRefused(ActionError):
    """A step claims a weaker effect than the action can promise."""

    code = "effect_refused"

    def __init__(self, name: str, effect: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{name} cannot promise effect {effect!r} with these arguments; allowed: {', '.join(allowed)}")
        self.effect = effect
        self.allowed = allowed


class UnknownAction(ActionError):
    """No built-in and no plug-in has this name."""

    code = "unknown_action"

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"no action named {name!r}; known: {', '.join(known)}")
        self.name = name
        self.known = known


class CommandRefused(ActionError):
    """The command may not run here; the message says which setting decides."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EgressRefused(ActionError):
    """The outbound policy forbids the call; nothing was sent."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EgressFailed(ActionError):
    """The call was allowed and brought no answer; `sent` says whether a byte of the request may have left."""

    def __init__(self, code: str, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.code = code
        self.sent = sent
