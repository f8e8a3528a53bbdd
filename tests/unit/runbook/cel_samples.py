"""A runbook's variables and a scope of them, shared by the tests of expressions."""

from typing import Any

from libs.runbook.cel import Declarations, compile_condition, compile_expression, condition, evaluate, run

DECLARED = Declarations.of({"shard": "string", "count": "integer", "dry": "boolean"})


def scope(**outputs: Any) -> dict[str, Any]:
    """A scope after the step `probe` succeeded with these outputs."""
    return {
        "inputs": {"shard": "shard-1", "count": 3, "dry": False},
        "alert": {
            "name": "storage_latency_high",
            "severity": "high",
            "labels": {"zone": "eu", "availability-zone": "eu-1"},
            "annotations": {"target": "http://127.0.0.1:9"},
        },
        "incident": {"id": "0190a0de-0000-7000-8000-000000000001"},
        "steps": {"probe": {"outputs": outputs}, "restart-api": {"outputs": {"status": 200}}},
    }


def value_of(source: str, /, **outputs: Any) -> Any:
    """The value of an expression over that scope; loops run here as well."""
    return evaluate(compile_expression(source, DECLARED), scope(**outputs), run)


def holds(source: str, /, **outputs: Any) -> bool:
    """Whether a condition holds over that scope."""
    return condition(compile_condition(source, DECLARED), scope(**outputs), run)
