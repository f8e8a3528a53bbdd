"""A runbook built in Python is the runbook that YAML gives: the same spec, the same hash, the same refusals."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runbook.builder import RunbookBuilder, runbook, steps
from libs.runbook.builder.writing import write
from libs.runbook.loader import load
from libs.runbook.problems import RunbookInvalid
from libs.runbook.spec import Runbook
from libs.runbook.text import read
from tests.unit.runbook.samples import HEAD

ROOT = Path(__file__).parents[3]


def built() -> RunbookBuilder:
    return (
        runbook("storage-latency")
        .named("Evidence storage latency")
        .described("Reroutes ingestion from the slow shard to its standby, then waits for the latency alert to end.")
        .tagged("storage", "ingest")
        .risk("medium")
        .input(
            "target",
            "string",
            description="Base URL of the service that routes ingestion.",
            from_="${{ alert.labels.target }}",
        )
        .input("shard", "string", description="The shard that the alert is about.", from_="${{ alert.labels.shard }}")
        .input("standby", "string", description="The shard that takes over.", from_="${{ alert.labels.standby }}")
        .trigger("storage_latency_high")
        .verify(alert="resolved", within="60s")
        .deadline("10m")
        .action(
            "reroute",
            "Reroute ingestion to the standby shard",
            "http.request",
            with_={"method": "POST", "url": "${{ inputs.target }}/reroute", "json": {"to": "${{ inputs.standby }}"}},
            effect="keyed",
            resource="ingest/${{ inputs.shard }}",
            target={"tags": {"url": "${{ inputs.target }}/tags"}},
        )
        .requires_firing()
        .timeout("10s")
        .retry(3, backoff="exponential", delay="1s", max_delay="10s")
    )


def refusal(builder: RunbookBuilder) -> list[str]:
    """What is said against it, by its line relative to the function that wrote it."""
    with pytest.raises(RunbookInvalid) as refused:
        builder.build()
    return [f"{problem.line}: {problem.path}: {problem.message}" for problem in refused.value.problems]


def test_a_shipped_runbook_has_the_same_hash_in_python() -> None:
    shipped = load((ROOT / "runbooks" / "storage-latency.yaml").read_bytes())

    assert built().load().spec_hash == shipped.spec_hash
    assert built().build() == shipped.spec


def test_its_text_is_the_same_runbook() -> None:
    again = load(built().to_yaml())

    assert again.spec == built().build()


def test_what_was_not_said_stays_out() -> None:
    text = runbook("sample").named("Sample").risk("low").wait("pause", for_="5s").to_yaml()

    assert text == HEAD + "steps:\n  - id: pause\n    type: wait\n    for: 5s\n"


def test_the_shape_of_the_guide_for_authors_of_other_systems() -> None:
    found = (
        runbook("custom-recovery")
        .named("Custom service recovery")
        .risk("low")
        .check("health-check", "Check service health", "http.request", expect="outputs.status == 200")
        .on_success("notify-ok")
        .on_failure("look")
        .manual("look", "Look at it", "Look at the service.")
        .timeout("30m")
        .on_success("end")
        .notify("notify-ok", "Service is healthy", "Service operating normally", channel="ops")
        .start_with("health-check")
        .build()
    )

    assert [step.id for step in found.steps] == ["health-check", "look", "notify-ok"]
    assert found.successor("health-check") == "notify-ok"
    assert found.after_failure("health-check") == (False, "look")


def test_every_type_of_step_can_be_written() -> None:
    data = (
        runbook("sample")
        .decision("how-bad")
        .branch("inputs.load > 90", "fan")
        .branch("inputs.load > 70", "each")
        .otherwise("end")
        .parallel(
            "fan",
            "Restart all",
            {"api": steps().wait("api-pause", for_="5s"), "cache": steps().wait("cache-pause", for_="6s")},
            join="any",
        )
        .loop("each", "Drain all", ["a", "b"], steps().wait("drain", seconds=1).when("each.index > 0"), concurrency=2)
        .approval("agree", prompt="Go on?", approvers="sre")
        .to_data()["steps"]
    )

    assert data == [
        {
            "id": "how-bad",
            "type": "decision",
            "branches": [{"when": "inputs.load > 90", "goto": "fan"}, {"when": "inputs.load > 70", "goto": "each"}],
            "otherwise": "end",
        },
        {
            "id": "fan",
            "type": "parallel",
            "name": "Restart all",
            "join": "any",
            "branches": {
                "api": [{"id": "api-pause", "type": "wait", "for": "5s"}],
                "cache": [{"id": "cache-pause", "type": "wait", "for": "6s"}],
            },
        },
        {
            "id": "each",
            "type": "loop",
            "name": "Drain all",
            "over": ["a", "b"],
            "concurrency": 2,
            "steps": [{"id": "drain", "type": "wait", "seconds": 1, "when": "each.index > 0"}],
        },
        {"id": "agree", "type": "approval", "prompt": "Go on?", "approvers": "sre"},
    ]


def test_a_step_says_everything_that_the_language_knows() -> None:
    [data] = (
        runbook("sample")
        .action("a", None, "http.request", effect="keyed")
        .describe("d")
        .on_success("end")
        .on_failure("ask")
        .capture(n="outputs.n")
        .needs_approval("Sure?", expires="5m")
        .rollback("http.request", with_={"method": "POST"})
        .having(irreversible=False)
        .to_data()["steps"]
    )

    assert data == {
        "id": "a",
        "type": "action",
        "action": "http.request",
        "effect": "keyed",
        "description": "d",
        "on_success": "end",
        "on_failure": "ask",
        "capture": {"n": "outputs.n"},
        "approval": {"prompt": "Sure?", "expires": "5m"},
        "rollback": {"action": "http.request", "with": {"method": "POST"}},
        "irreversible": False,
    }


def test_a_runbook_says_everything_that_the_language_knows() -> None:
    data = (
        runbook("sample")
        .mode("suggest")
        .on_failed("rollback")
        .verify(checks=["healthy"])
        .concurrency("${{ inputs.host }}", "queue", limit=2)
        .rate_limit(3, "1h")
        .budget(5, "10m", key="all")
        .cooldown("5m")
        .breaker(3, "1h")
        .escalation("on-call", "ops", message="It failed")
        .action("a", None, "http.request", effect="unsafe")
        .probe("http.request", took_effect="outputs.status == 200", timeout="5s")
        .to_data()
    )

    probe = {"action": "http.request", "took_effect": "outputs.status == 200", "timeout": "5s"}
    assert data == {
        "apiVersion": "ranger/v1",
        "id": "sample",
        "mode": "suggest",
        "on_failed": "rollback",
        "verify": {"checks": ["healthy"]},
        "concurrency": {"key": "${{ inputs.host }}", "policy": "queue", "limit": 2},
        "rate_limit": {"executions": 3, "per": "1h"},
        "budget": {"resources": 5, "window": "10m", "key": "all"},
        "cooldown": "5m",
        "breaker": {"failures": 3, "window": "1h"},
        "escalation": {"channels": ["on-call", "ops"], "message": "It failed"},
        "steps": [{"id": "a", "type": "action", "action": "http.request", "effect": "unsafe", "probe": probe}],
    }


def test_every_key_of_a_runbook_has_a_word_of_its_own() -> None:
    words = {"api_version": "to_yaml", "id": "load", "name": "named", "description": "described", "tags": "tagged"}
    words |= {"inputs": "input", "triggers": "trigger", "steps": "build"}

    missing = [key for key in Runbook.model_fields if not hasattr(RunbookBuilder, words.get(key, key))]

    assert missing == []


def test_a_fault_is_told_with_the_line_of_its_call() -> None:
    first = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]  # CPython has frames
    wrong = (
        runbook("Sample")
        .named("Sample")
        .risk("none")
        .wait("pause", for_="5 seconds")
        .on_failure("nowhere")
        .on_failure("end")
    )

    assert refusal(wrong) == [
        f"{first + 1}: id: must be lower-case letters, digits and hyphens, at most 63, such as restart-api",
        f"{first + 3}: risk: must be 'low', 'medium' or 'high'",
        f"{first + 4}: steps[0]: must be a whole number and a unit (ms, s, m, h), such as 60s",
        f"{first + 6}: steps[0].on_failure: is said twice",
    ]


def test_a_broken_rule_is_told_with_the_line_of_its_call() -> None:
    first = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]  # CPython has frames
    wrong = (
        runbook("sample")
        .named("Sample")
        .risk("low")
        .action("a", None, "http.request", effect="keyed")
        .on_success("nowhere")
    )

    said = refusal(wrong)

    assert f"{first + 5}: steps[0].on_success: 'nowhere' is not the id of a later step, nor end" in said
    assert any(line.startswith(f"{first + 4}: steps[0].effect: 'keyed' changes something") for line in said)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "has no value; write one, or leave the key out"),
        (0.5, "'0.5' is not accepted as a number; write a decimal integer, or quote it"),
        ({1}, "a runbook holds no set"),
        (2**60, "integers must lie within ±(2^53 - 1); quote it"),
        ("a\u200bb", "character U+200B is not accepted; remove it"),
    ],
)
def test_what_yaml_may_not_hold_is_refused_in_python_too(value: object, says: str) -> None:
    head = runbook("sample").named("s").risk("low")
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]  # CPython has frames
    wrong = head.action("a", None, "http.request", effect="read", with_={"x": value})

    assert refusal(wrong) == [f"{line}: steps[0].with.x: {says}"]


def test_what_belongs_to_a_step_needs_one() -> None:
    wrong = runbook("sample").named("s").risk("low").timeout("5s").branch("a", "b").wait("w", for_="5s").start_with("x")

    assert [line.partition(": ")[2] for line in refusal(wrong)] == [
        "steps: begin with their first one; put 'x' there",
        "steps.timeout: belongs to a step; begin one first",
        "steps.branch: belongs to a decision; begin one first",
    ]


def test_a_fault_inside_a_branch_is_told_with_its_line() -> None:
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]  # CPython has frames
    inner = steps().wait("w", for_="soon").when("true").when("false")
    wrong = runbook("sample").named("s").risk("low").parallel("p", None, {"a": inner})

    assert refusal(wrong) == [
        f"{line}: steps[0].branches.a[0]: must be a whole number and a unit (ms, s, m, h), such as 60s",
        f"{line}: steps[0].branches.a[0].when: is said twice",
    ]


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"]) | st.just("\n"))
WORDS = st.sampled_from(
    ["yes", "010", "1e3", "~", "null", "True", "0x1f", ".5", "- a", "a: b", "#", "<<", "=", "|", ""]
)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS | WORDS, VALUES, max_size=4))
def test_what_is_written_is_read_as_the_same_data(data: dict[str, object]) -> None:
    assert read(write(data)).data == data


def test_authors_import_it_from_the_package_and_the_command_line_pays_nothing_for_it() -> None:
    program = (
        "import sys, runbook_ranger; early = 'pydantic' in sys.modules;"
        "from runbook_ranger import Runbook, RunbookInvalid, action, load, runbook, steps;"
        "print(early, action.__module__)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.split() == ["False", "libs.actions.api"]


def test_the_package_has_no_other_names() -> None:
    import runbook_ranger

    assert all(getattr(runbook_ranger, name) for name in runbook_ranger.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Rubnook'"):
        runbook_ranger.Rubnook  # noqa: B018 — asking for it is the test
