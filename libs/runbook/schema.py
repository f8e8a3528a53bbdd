"""The language as JSON Schema (draft 2020-12), for editors and forms.

It describes shapes; what `lint` adds (order, references, what this version carries out) is not in it.
"""

from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from libs.runbook.spec import API_VERSION, Runbook

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ONE_OR_MANY: Final = "_one_or_many"


class _AsWritten(GenerateJsonSchema):
    """What authors write, where that is more than what is kept: one value stands for a list of it."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        kept = super().function_before_schema(schema)
        if getattr(schema["function"]["function"], "__name__", "") != ONE_OR_MANY:
            return kept
        return {"anyOf": [kept["items"], kept], ONE_OR_MANY: True}


def json_schema() -> dict[str, Any]:
    """The schema of a runbook; keys are those that authors write (`from`, `with`, `apiVersion`)."""
    schema = Runbook.model_json_schema(by_alias=True, mode="validation", schema_generator=_AsWritten)
    return {"$schema": DIALECT, "$id": f"rr:{API_VERSION}", **_with_lengths(schema)}


def _with_lengths(schema: Any) -> Any:
    """How many there may be is said of the list: pydantic says it of whatever may also be one text."""
    if isinstance(schema, list):
        return [_with_lengths(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _with_lengths(item) for key, item in schema.items()}
    if found.pop(ONE_OR_MANY, False):
        one, many = found["anyOf"]
        lengths = {"minItems": found.pop("minLength", None), "maxItems": found.pop("maxLength", None)}
        found["anyOf"] = [one, {**many, **{key: length for key, length in lengths.items() if length is not None}}]
    return found
