"""The language as JSON Schema (draft 2020-12), for editors and forms.

It describes shapes; what `lint` adds (order, references, what this version carries out) is not in it.
"""

from typing import Any, Final

from libs.runbook.spec import API_VERSION, Runbook

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of a runbook; keys are those that authors write (`from`, `with`, `apiVersion`)."""
    schema = Runbook.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, "$id": f"rr:{API_VERSION}", **schema}
