"""Deliberate faults in the product, for tests of the checker: nothing of this is in the product's own code.

Python imports this module by itself when its folder is on PYTHONPATH. It waits until a module of the product is
imported and wraps what is to go wrong; a fault is committed while a file of its name lies in the folder RR_SABOTAGE.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
import uuid
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from msgspec.structs import replace

Patch = Callable[[ModuleType], None]
FENCE_OF_OUR_OWN = "999999999"


def on(fault: str) -> bool:
    """Whether this fault is to be committed now."""
    folder = os.environ.get("RR_SABOTAGE")
    return bool(folder) and Path(folder or "", fault).exists()


def inbox_skipped(module: ModuleType) -> None:
    real = module.enter

    async def enter(tx: Any, consumer: str, messages: Any) -> Any:
        if on("inbox skipped"):
            return frozenset(message[0] for message in messages), frozenset()
        return await real(tx, consumer, messages)

    vars(module)["enter"] = enter


def acknowledged_before_commit(module: ModuleType) -> None:
    real = module.EventConsumer.apply

    async def apply(self: Any, messages: Any, epoch: int) -> None:
        if on("acknowledged before commit"):
            await self._puller.acknowledge(messages)
        await real(self, messages, epoch)

    module.EventConsumer.apply = apply


def marked_without_publishing(module: ModuleType) -> None:
    real = module.Relay._publish

    async def publish(self: Any, rows: Any) -> Any:
        if on("marked without publishing") and self._database.schema == "catalog":
            return {row["id"]: module.Stored("EVENTS", 1) for row in rows}
        return await real(self, rows)

    module.Relay._publish = publish


def facts_bent(module: ModuleType) -> None:
    real = module.Outbox.event

    def event(self: Any, fact: Any, **more: Any) -> Any:
        if on("version skipped") and self.service == "catalog":
            more["aggregate_version"] += 1
        if on("trace cut") and self.service == "incident":
            trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
            more["cause"] = replace(more["cause"], traceparent=trace)
        return real(self, fact, **more)

    module.Outbox.event = event


def write_lost(module: ModuleType) -> None:
    real = module.RpcServer._once

    async def once(self: Any, verb: str, caller: Any, question: Any, handler: Any) -> Any:
        if on("write lost") and verb == "kill_switch_set":
            return {"changed": True, "items": []}
        return await real(self, verb, caller, question, handler)

    module.RpcServer._once = once


def letter_dropped(module: ModuleType) -> None:
    real = module.set_aside

    async def set_aside(tx: Any, letter: Any, **more: Any) -> None:
        if not on("letter dropped"):
            await real(tx, letter, **more)

    vars(module)["set_aside"] = set_aside


def loop_blocked(module: ModuleType) -> None:
    real = module.Health.app

    async def app(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if on("loop blocked") and os.environ.get("RR_INSTANCE") == "catalog":
            time.sleep(1.5)  # noqa: ASYNC251 — that is the fault
        await real(self, scope, receive, send)

    module.Health.app = app


def settlement_bent(module: ModuleType) -> None:
    real = module.Settlements.settle

    async def settle(self: Any, settlements: Any) -> Any:
        settled = await real(self, settlements)
        pool = self._database.pool
        executions = [uuid.UUID(s.attempt.execution_id) for s in settlements]
        actions = [uuid.UUID(s.attempt.action_id) for s in settlements]
        if on("lock released early"):
            await pool.execute("DELETE FROM resource_lock WHERE execution_id = ANY($1::uuid[])", executions)
        if on("settled twice"):
            await pool.execute(
                "UPDATE action_log SET state = 'failed' WHERE action_id = ANY($1::uuid[]) AND state = 'succeeded'",
                actions,
            )
        return settled

    module.Settlements.settle = settle


def timer_fired_twice(module: ModuleType) -> None:
    real = module.Timers.fire_due

    async def fire_due(self: Any) -> int:
        fired: int = await real(self)
        if fired and on("timer fired twice"):
            await self._database.pool.execute("UPDATE timer SET fired_at = clock_timestamp() WHERE state = 'fired'")
        return fired

    module.Timers.fire_due = fire_due


def approval_not_bound(module: ModuleType) -> None:
    real = module.Claims._use_approvals

    async def use_approvals(self: Any, tx: Any, attempts: Any, rows: Any) -> Any:
        return (list(attempts), []) if on("approval not bound") else await real(self, tx, attempts, rows)

    module.Claims._use_approvals = use_approvals


def kill_switch_ignored(module: ModuleType) -> None:
    real = module.Switches.holds
    module.Switches.holds = lambda self, tenant: not on("kill switch ignored") and real(self, tenant)


def sweeper_bent(module: ModuleType) -> None:
    sweep, lose = module.Sweeper.sweep, module.Sweeper._lose

    async def swept(self: Any) -> None:
        if not on("sweeper off"):
            await sweep(self)

    async def lost(self: Any, tx: Any, executions: Any) -> Any:
        changes = await lose(self, tx, executions)
        if on("unknown retried"):
            await tx.execute(
                "UPDATE action_log SET state = 'ready' WHERE state = 'unknown' AND execution_id = ANY($1::uuid[])",
                [uuid.UUID(key) for key in executions],
            )
        return changes

    module.Sweeper.sweep, module.Sweeper._lose = swept, lost


def chain_link_skipped(module: ModuleType) -> None:
    real = module._Chainer._link

    def link(self: Any, key: tuple[str, str]) -> Any:
        if on("chain link skipped"):
            return module.Link(*key, 1, module.genesis(self.origin, *key))
        return real(self, key)

    module._Chainer._link = link


def calls_bent(module: ModuleType) -> None:
    run, headers = module.HttpRequest.run, module._headers

    async def again(self: Any, arguments: Any, context: Any) -> Any:
        if on("unsafe call repeated") and context.effect is module.Effect.UNSAFE:
            await run(self, arguments, context)
        return await run(self, arguments, context)

    def forged(arguments: Any, context: Any) -> dict[str, str]:
        found: dict[str, str] = headers(arguments, context)
        return {**found, "Rr-Fence": FENCE_OF_OUR_OWN} if on("fence forged") else found

    module.HttpRequest.run = again
    vars(module)["_headers"] = forged


PATCHES: dict[str, Patch] = {
    "libs.common.inbox": inbox_skipped,
    "libs.common.consumer": acknowledged_before_commit,
    "libs.common.relay": marked_without_publishing,
    "libs.common.outbox": facts_bent,
    "libs.common.rpc": write_lost,
    "libs.common.deadletters": letter_dropped,
    "libs.common.health": loop_blocked,
    "services.executor.settlement": settlement_bent,
    "services.executor.timers": timer_fired_twice,
    "services.executor.claims": approval_not_bound,
    "services.executor.kill_switch": kill_switch_ignored,
    "services.executor.sweeper": sweeper_bent,
    "libs.tlog.chain": chain_link_skipped,
    "libs.actions.http_request": calls_bent,
}


class Patching(Loader):
    """Loads a module as usual, then patches it."""

    def __init__(self, loader: Loader, patch: Patch) -> None:
        self._loader, self._patch = loader, patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._patch(module)


class Finder(MetaPathFinder):
    """Finds the modules that are to be patched."""

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        patch = PATCHES.get(name)
        spec = PathFinder.find_spec(name, path, target) if patch else None
        if spec is not None and spec.loader is not None and patch is not None:
            spec.loader = Patching(spec.loader, patch)
        return spec


sys.meta_path.insert(0, Finder())
