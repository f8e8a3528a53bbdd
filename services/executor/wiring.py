"""What the executor is made of."""

from typing import Final

from libs.common.clock import utc_now
from libs.common.consumer import decode_fact
from libs.common.contracts.choreography import EVENTS
from libs.common.outbox import Outbox
from libs.common.policy import Principal
from libs.common.process import Runtime
from libs.common.rpc import RpcClient
from libs.runbook.spec import Runbook
from services.executor import commands, step_views, views
from services.executor.approvals import Approvals
from services.executor.desk import Desk
from services.executor.guards import wiring as guards
from services.executor.handlers import Handlers
from services.executor.hints import Hints, connect
from services.executor.model import SERVICE
from services.executor.planning import FetchSpec, Planner
from services.executor.previews import Previews
from services.executor.retrying import Retrying
from services.executor.settings import ExecutorSettings
from services.executor.sources import Sources
from services.executor.starting import Starting
from services.executor.steering import Steering
from services.executor.sweeper import Sweeper
from services.executor.timers import Timers
from services.executor.usecases import Commands

CATALOG: Final = "catalog"


async def wire(runtime: Runtime) -> None:
    """Hang the executor's parts on the process."""
    if runtime.settings.redis_url is None:
        raise SystemExit("settings: RR_REDIS_URL is missing; workers are hinted there")
    settings = ExecutorSettings.read()
    instance = runtime.settings.instance or SERVICE
    hints = Hints(connect(runtime.settings.redis_url.get_secret_value(), name=instance))
    outbox = Outbox(SERVICE, runtime.database.schema)
    runtime.health.add("redis", hints.ping)

    client = RpcClient(runtime.bus, timeout=runtime.settings.rpc_timeout_seconds)
    planner = Planner(outbox, _spec_from_catalog(client), utc_now)
    held = Approvals(outbox, utc_now)
    handlers = Handlers(planner, held, outbox, hints, clock=utc_now)
    runtime.consume(EVENTS, decode_fact, handlers.apply, hints.flush)

    people = Commands(outbox, hints, held, clock=utc_now)
    desk = Desk(outbox, hints, utc_now)
    steering = Steering(desk)
    sources = Sources(client)
    starting = Starting(planner, sources, hints)
    rpc = runtime.rpc
    rpc.query("get", commands.GetExecution, views.get_execution)
    rpc.query("list", commands.ListExecutions, views.list_executions)
    rpc.query("list_steps", commands.ListSteps, step_views.list_steps)
    rpc.query("kill_switch_get", commands.GetKillSwitch, people.get_kill_switch)
    rpc.query("plan", commands.PlanRunbook, Previews(sources).plan)
    rpc.command("execute", commands.StartExecution, starting.start, hints.flush)
    rpc.command("complete_step", commands.CompleteStep, people.complete_step, hints.flush)
    rpc.command("fail", commands.FailExecution, people.fail, hints.flush)
    rpc.command("revoke_approval", commands.RevokeApproval, people.revoke_approval, hints.flush)
    rpc.command("decide_step", commands.DecideStep, people.decide_step, hints.flush)
    rpc.command("abort", commands.AbortExecution, people.abort, hints.flush)
    rpc.command("pause", commands.PauseExecution, steering.pause, hints.flush)
    rpc.command("resume", commands.ResumeExecution, steering.resume, hints.flush)
    rpc.command("skip_step", commands.SkipStep, steering.skip, hints.flush)
    rpc.command("choose_step", commands.ChooseForStep, steering.choose, hints.flush)
    rpc.command("signal", commands.SignalExecution, steering.signal, hints.flush)
    rpc.command("rollback", commands.RollBackExecution, steering.roll_back, hints.flush)
    rpc.command("terminate", commands.TerminateExecution, steering.terminate, hints.flush)
    rpc.command("retry", commands.RetryExecution, Retrying(desk, planner).retry, hints.flush)
    rpc.command("break_lock", commands.BreakLock, people.break_lock, hints.flush)
    rpc.command("kill_switch_set", commands.SetKillSwitch, people.set_kill_switch, hints.flush)

    guards.hang(runtime, outbox, hints, settings)
    runtime.add("timers", Timers(runtime.database, outbox, hints, runtime.pulse, clock=utc_now))
    runtime.add("sweeper", Sweeper(runtime.database, outbox, hints, settings, runtime.pulse, clock=utc_now))


def _spec_from_catalog(client: RpcClient) -> FetchSpec:
    async def fetch(tenant: str, runbook_id: str, version: int) -> Runbook:
        question = {"runbook_id": runbook_id, "version": version}
        principal = Principal.system(SERVICE)
        answer = await client.ask(CATALOG, "get_version", question, principal=principal, tenant=tenant)
        return Runbook.from_json(answer["spec"])

    return fetch
