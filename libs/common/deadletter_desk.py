"""A person's commands on dead letters, the same in every service: list, show, retry, discard."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from libs.common import deadletters
from libs.common.consumer import EventConsumer
from libs.common.contracts.envelope import MalformedEnvelope
from libs.common.contracts.fact import MalformedPayload
from libs.common.database import Tx
from libs.common.errors import Conflict, NotFound, RangerError
from libs.common.policy import SYSTEM_TENANTS, Resource, require
from libs.common.rpc import Answer, Caller, Question, RpcServer

Rationale = Annotated[str, StringConstraints(min_length=3, max_length=2000, strip_whitespace=True)]


class ListLetters(Question):
    """Dead letters in a state, oldest first."""

    state: Literal["open", "retried", "discarded"] = "open"
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class ShowLetter(Question):
    """One letter, whole."""

    id: int


class RetryLetter(Question):
    """Apply a letter, and those parked behind it, again, in order."""

    id: int
    rationale: Rationale = "retried"


class DiscardLetter(Question):
    """Let a letter go; what is parked behind it stays until it is retried."""

    id: int
    rationale: Rationale


class DeadLetterDesk:
    """Answers the four verbs for the consumers of one service."""

    def __init__(self, consumers: Mapping[str, EventConsumer[Any]]) -> None:
        self._consumers = consumers

    def register(self, server: RpcServer) -> None:
        """Add `dlq_list`, `dlq_show`, `dlq_retry` and `dlq_discard`."""
        server.query("dlq_list", ListLetters, self.list_letters)
        server.query("dlq_show", ShowLetter, self.show)
        server.command("dlq_retry", RetryLetter, self.retry)
        server.command("dlq_discard", DiscardLetter, self.discard)

    async def list_letters(self, tx: Tx, caller: Caller, question: ListLetters) -> Answer:
        """Letters of the caller's tenant, and those that name none."""
        await require(caller.principal, "dead_letter.view", Resource("dead_letter", "*", caller.tenant))
        everywhere = caller.principal.tenants == SYSTEM_TENANTS
        tenants = None if everywhere else [caller.tenant, ""]
        return {"items": await deadletters.listing(tx, tenants=tenants, state=question.state, limit=question.limit)}

    async def show(self, tx: Tx, caller: Caller, question: ShowLetter) -> Answer:
        """The letter with its payload."""
        return await self._visible(tx, caller, question.id, "dead_letter.view")

    async def retry(self, tx: Tx, caller: Caller, question: RetryLetter) -> Answer:
        """Apply it again; an error leaves everything as it was and is the answer."""
        letter = await self._visible(tx, caller, question.id, "dead_letter.resolve")
        _still_open(letter)
        rows = await deadletters.behind(tx, question.id)
        for row in rows:
            try:
                await self._consumers[row["consumer"]].apply_letter(tx, row)
            except (MalformedEnvelope, MalformedPayload) as error:
                raise Conflict(
                    f"Dead letter {row['id']} still cannot be read: {error}.",
                    fix="Have its sender post it again in the right form, then discard this one.",
                ) from None
            except RangerError:
                raise
            except Exception as error:
                raise Conflict(
                    f"Dead letter {row['id']} still cannot be applied: {type(error).__name__}.",
                    fix="The service's log has the details; nothing was changed.",
                ) from error
        numbers = [row["id"] for row in rows]
        await deadletters.resolve(tx, numbers, state="retried", actor=caller.principal.actor, why=question.rationale)
        return {"retried": numbers}

    async def discard(self, tx: Tx, caller: Caller, question: DiscardLetter) -> Answer:
        """Close it with a rationale; it stays listed under `discarded`."""
        _still_open(await self._visible(tx, caller, question.id, "dead_letter.resolve"))
        actor = caller.principal.actor
        await deadletters.resolve(tx, [question.id], state="discarded", actor=actor, why=question.rationale)
        return {"discarded": [question.id]}

    async def _visible(self, tx: Tx, caller: Caller, number: int, action: str) -> dict[str, Any]:
        letter = await deadletters.one(tx, number, lock=action == "dead_letter.resolve")
        if letter is None:
            raise NotFound(f"There is no dead letter {number}.", fix="`rangerctl dlq list` shows what there is.")
        await require(
            caller.principal, action, Resource("dead_letter", str(number), letter["tenant_id"] or caller.tenant)
        )
        return letter


def _still_open(letter: Mapping[str, Any]) -> None:
    if letter["state"] != "open":
        raise Conflict(f"Dead letter {letter['id']} is {letter['state']} already.")
