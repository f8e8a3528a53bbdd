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
        return {"anyOf": [kept["items"], kept]}


def json_schema() -> dict[str, Any]:
    """The schema of a runbook; keys are those that authors write (`from`, `with`, `apiVersion`)."""
    schema = Runbook.model_json_schema(by_alias=True, mode="validation", schema_generator=_AsWritten)
    return {"$schema": DIALECT, "$id": f"rr:{API_VERSION}", **schema}
