"""The embedded engine's eight known defects: each shown on the bare library, then kept out by what stands around it."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from regopy import Interpreter, RegoError

from libs.common.policy.engines.base import EngineFailed
from libs.common.policy.engines.embedded import EmbeddedRego, Package
from libs.common.policy.inputs import Document, canonical, document
from libs.common.policy.lint import faults
from libs.common.policy.model import Context, Principal, Resource
from libs.common.policy.seam import Seam
from tests.unit.common.policy.questions import ACME, BUNDLE, INCIDENT, OLGA, VERA

DECISION = "incident/authz/decision"
HOSTILE = 'x","allow":true,"z":"'


def _asked(actor: Principal) -> Document:
    return document(actor, "incident.create", INCIDENT, Context(), now=1)


def test_1_a_dicts_strings_are_not_escaped_so_input_goes_in_as_json() -> None:
    bare = Interpreter()
    bare.add_module("m", 'package m\nx := {"allow": false, "title": input.title}')
    bundle = bare.build(None, ["m/x"])

    bare.set_input({"title": HOSTILE})
    opened = bare.query_bundle_entrypoint(bundle, "m/x")[0].expressions[0]
    bare.set_input_term(json.dumps({"title": HOSTILE}, ensure_ascii=False))
    closed = bare.query_bundle_entrypoint(bundle, "m/x")[0].expressions[0]

    assert opened["allow"] is True
    assert closed == {"allow": False, "title": HOSTILE}


@pytest.mark.parametrize(
    "hostile", [HOSTILE, 'x"},"allow":true,"x":{"y":"', "\\", '\\"', '"', "\\u0022,", "{", "é", "障"]
)
def test_1_whatever_stands_in_a_name_a_denial_stays_one(hostile: str) -> None:
    engine = EmbeddedRego(BUNDLE)
    who = Principal(hostile, ACME, frozenset({hostile}), groups=frozenset({hostile}), scopes=frozenset({"*"}))
    thing = Resource("incident", hostile, "acme", status=hostile, requester=hostile, tags={hostile: hostile})

    found = engine.value(DECISION, document(who, "incident.create", thing, Context(to=hostile), now=1))

    assert found["allow"] is False
    assert found["denials"] == ["role"]


@given(st.text(max_size=40).filter(str.isprintable))
def test_1_a_name_comes_out_of_the_engine_as_it_went_in(name: str) -> None:
    who = Principal("ada", frozenset({"*"}), frozenset({"viewer"}), environments=frozenset({name}))

    found = EmbeddedRego(BUNDLE).value(
        "incident/authz/scope", document(who, "incident.view", INCIDENT, Context(), now=1)
    )

    assert found["environments"] == [name]


@pytest.mark.parametrize("hostile", [HOSTILE, 'x"}}],"allow":true,"y":[{"z":{"a":"', "\\", '\\"'])
async def test_1_a_name_that_stands_in_the_reasons_stays_a_name(hostile: str) -> None:
    thing = Resource("approval", "1", "acme", groups=frozenset({hostile, "b"}))
    who = Principal("paul", ACME, frozenset({"approver"}))

    found = await Seam(EmbeddedRego(BUNDLE)).decide(who, "approval.decide", thing)

    assert found.allow is False
    assert found.reasons[0].params == {"groups": ", ".join(sorted([hostile, "b"]))}


@given(st.text(max_size=20).filter(str.isprintable), st.integers(0, 3), st.booleans())
def test_1_where_nothing_is_escaped_the_short_way_says_what_the_json_does(name: str, number: int, flag: bool) -> None:
    asked = {"a": name, "b": [name, number], "c": {"d": flag, "e": None, name or "f": name}}
    bare = Interpreter()
    bare.add_module("m", "package m\nx := input")
    bundle = bare.build(None, ["m/x"])
    package = Package(BUNDLE, "incident.authz")
    package._interpreter, package._bundle = bare, bundle

    bare.set_input_term(canonical(asked))

    assert bare.query_bundle_entrypoint(bundle, "m/x")[0].expressions[0] == package.evaluate("m/x", asked) == asked


@pytest.mark.parametrize("call", ["max([10, 9])", "min([1])", "sort([2, 1])"])
def test_2_numbers_are_ordered_as_text_so_policies_may_not_order(call: str) -> None:
    bare = Interpreter()
    assert "9" in str(bare.query("x := max([10, 9])"))

    assert list(faults(f"package m\nx := {call}")) == [f"line 2: {call.partition('(')[0]} is not allowed"]


def test_3_after_a_failed_input_the_one_before_would_be_judged_so_the_interpreter_is_thrown_away() -> None:
    bare = Interpreter()
    bare.add_module("m", "package m\nx := input.who")
    bundle = bare.build(None, ["m/x"])
    bare.set_input_term('{"who": "admin"}')
    with pytest.raises(RegoError):
        bare.set_input_term('{"who":')
    assert "admin" in str(bare.query_bundle_entrypoint(bundle, "m/x"))

    engine = EmbeddedRego(BUNDLE)
    assert engine.value(DECISION, document(OLGA, "incident.create", INCIDENT, Context(), now=1))["allow"] is True
    used = engine._own.packages["incident.authz"]
    with pytest.raises(EngineFailed):
        engine.value(DECISION, {"v": float("nan")})  # NaN is no JSON
    assert "incident.authz" not in engine._own.packages

    assert engine.value(DECISION, document(VERA, "incident.create", INCIDENT, Context(), now=1))["allow"] is False
    assert engine._own.packages["incident.authz"] is not used


@pytest.mark.parametrize(
    "broken",
    [
        'decision := {"allow": false, "denials": [], "x": unsafe}',
        'decision := {"allow": count(1, 2, 3)}',
        "other := true",
    ],
)
def test_4_what_does_not_compile_is_silently_undefined_so_entrypoints_are_resolved_at_once(broken: str) -> None:
    modules = {
        **BUNDLE.modules,
        "timeline.view": f'package timeline.view\n{broken}\ndefault scope := {{"allow": false}}\n',
    }

    with pytest.raises((EngineFailed, RegoError)):
        Package(replace(BUNDLE, modules=modules), "timeline.view")


def test_4_a_package_that_allows_what_is_not_there_is_not_taken() -> None:
    modules = {
        **BUNDLE.modules,
        "timeline.view": 'package timeline.view\ndecision := {"allow": true}\nscope := {"allow": true}\n',
    }

    with pytest.raises(EngineFailed, match="allows what is not there"):
        Package(replace(BUNDLE, modules=modules), "timeline.view")


def test_5_regular_expressions_may_run_for_seconds_so_policies_have_none() -> None:
    assert list(faults('package m\nx if regex.match("^(a+)+$", input.id)')) == ["line 2: regex.match is not allowed"]


def test_6_an_interpreter_belongs_to_one_thread_so_each_has_its_own() -> None:
    engine = EmbeddedRego(BUNDLE)
    own: dict[int, int] = {}
    together = threading.Barrier(4)

    def ask(number: int) -> list[bool]:
        who = OLGA if number % 2 else VERA
        together.wait(10)
        found = [engine.value(DECISION, _asked(who))["allow"] for _ in range(50)]
        own[number] = id(engine._own.packages["incident.authz"])
        together.wait(10)
        return found

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))

    assert answers == [[False] * 50, [True] * 50] * 2
    assert len(set(own.values())) == 4


def test_7_a_query_prints_undefined_as_a_word_so_an_entrypoint_gives_one_expression_or_nothing() -> None:
    bare = Interpreter()
    bare.add_module("m", "package m\nx if input.no")
    assert str(bare.query("data.m.x")) == "undefined"

    package = Package(BUNDLE, "incident.authz")
    with pytest.raises((EngineFailed, RegoError)):
        package.evaluate("incident/authz/nothing", _asked(VERA))


@pytest.mark.parametrize("body", ['some x in input.r\n\tx = "y"', 'x := input.x\n\t"y" = x'])
def test_8_unifying_a_variable_overwrites_it_so_policies_compare(body: str) -> None:
    def holds(module: str) -> bool:
        bare = Interpreter()
        bare.add_module("m", module)
        bundle = bare.build(None, ["m/holds"])
        bare.set_input_term('{"x": "z", "r": ["z"]}')
        return bool(bare.query_bundle_entrypoint(bundle, "m/holds")[0].expressions[0])

    module = f"package m\ndefault holds := false\nholds if {{\n\t{body}\n}}"
    assert holds(module)
    assert not holds(module.replace(" = ", " == "))

    assert list(faults(module)) == ["line 5: `=` is not allowed; `==` compares, `:=` assigns"]
