"""What a credential may be used for: actions, or all of a family (`incident.*`), or everything (`*`)."""

from collections.abc import Iterable

from libs.common.errors import Denied, InvalidInput
from libs.common.policy import ACTIONS


def covered(scope: str, by: Iterable[str]) -> bool:
    """Whether whoever holds `by` holds `scope` too."""
    family = f"{scope.partition('.')[0]}.*"
    return any(held in {"*", scope, family} for held in by)


def check_narrower(scopes: Iterable[str], held: Iterable[str]) -> None:
    """Refuse scopes that mean nothing, and those that whoever asks has not.

    Raises:
        InvalidInput: no action has that name.
        Denied: it would widen what the caller may do.
    """
    wanted = tuple(scopes)
    unknown = [scope for scope in wanted if scope != "*" and not any(covered(action, {scope}) for action in ACTIONS)]
    if unknown:
        raise InvalidInput(
            f"There is no action {', '.join(sorted(unknown))}.", fix="The actions stand in docs/policies.md."
        )
    wider = [scope for scope in wanted if not covered(scope, held)]
    if wider:
        raise widened("scopes", wider)


def widened(what: str, wider: Iterable[str]) -> Denied:
    """The refusal of a token that could do more than the credential that asks for it."""
    return Denied(
        f"A token cannot do more than the credential that makes it: {what} {', '.join(sorted(wider))}.",
        fix="Leave them out, or ask with a credential that has them.",
        code="policy.widened",
    )
