"""`dry_run.simulate`: what a dry run does instead of a mutation, a notification, a wait or a question: nothing.

The step's templates are filled in, and its arguments are looked at as the action itself would; nobody is called.
"""

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from libs.actions import Action, ActionContext, ActionResult, Arguments, Effect, Registry
from libs.actions.errors import ActionError
from libs.runbook.dry_run import SIMULATE


class SimulateArguments(Arguments):
    """A step as it would be carried out: its type, its action with arguments, and the texts that people would see."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    type: Annotated[str, Field(max_length=64)]
    effect: Annotated[str, Field(max_length=64)]
    action: Annotated[str, Field(max_length=128)] | None = None
    arguments: dict[str, Any] = Field(default_factory=dict, alias="with")
    texts: dict[str, Any] = Field(default_factory=dict)


class Simulate(Action[SimulateArguments]):
    """Look at a step's arguments and do nothing.

    Outputs: none that a later step could use; what would have been answered is unknown.
    """

    name: ClassVar[str] = SIMULATE
    summary: ClassVar[str] = "Look at what a step would do, and do nothing"
    arguments = SimulateArguments

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def effects(self, arguments: SimulateArguments) -> tuple[Effect, ...]:
        """Nothing is changed."""
        del arguments
        return (Effect.READ,)

    async def run(self, arguments: SimulateArguments, context: ActionContext) -> ActionResult:
        """Fail as the action would fail before it does anything: unknown, its arguments wrong, its effect refused."""
        del context
        if arguments.action is not None:
            try:
                action = self._registry.get(arguments.action)
                action.check_effect(action.parse(arguments.arguments), Effect(arguments.effect))
            except ActionError as error:
                return ActionResult.failed(error.code, str(error), effect_possible=False)
        return ActionResult.succeeded({}, {"simulated": arguments.action or arguments.type})
