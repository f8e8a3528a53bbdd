"""What the OpenAPI description says of every route, added in one place so that no route can leave it out."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from libs.common.contracts.alert import Alert, AlertmanagerWebhook
from services.gateway import problems
from services.gateway.identity import MAX_KEY

_REFERENCE: Final = "#/components/schemas/{model}"
REFUSAL: Final[dict[str, Any]] = {
    "description": "A refusal",
    "content": {problems.PROBLEM: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
}
_ALWAYS: Final = {
    "401": "No token, or an unknown one",
    "403": "The token may not do this, or names no tenant of its own",
    "404": "Nothing has this id, or nothing that the caller may see",
    "422": "A parameter or the body cannot be read, or is out of bounds",
    "503": "A service did not answer; repeat it with the same `Idempotency-Key`",
}
_CHANGES: Final = {
    "408": "The body did not arrive in time",
    "409": "The state does not allow it, or the key was used for another request",
    "413": "The body is too large",
    "415": "The body's content type is not one that this path takes",
}
_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "a change that is repeated with its key happens once; the answer names the key that was used",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY, "pattern": "^[!-~]+$"},
}


def complete(schema: dict[str, Any]) -> None:
    """Add the credential, the refusals of every operation and the key of every change; `schema` itself is changed."""
    components = schema.setdefault("components", {})
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    models: dict[str, Any] = components.setdefault("schemas", {})
    models["Problem"] = problems.SCHEMA
    posted = [(Alert, "validation"), (AlertmanagerWebhook, "validation")]
    models |= models_json_schema(posted, ref_template=_REFERENCE)[1].get("$defs", {})  # type: ignore[arg-type]
    schema["security"] = [{"token": []}]
    for operations in schema["paths"].values():
        for method, operation in operations.items():
            _complete(method, operation)


def reference(model: type) -> dict[str, Any]:
    """The schema of a body that a route reads by itself."""
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _complete(method: str, operation: dict[str, Any]) -> None:
    refusals = _ALWAYS | _CHANGES if method == "post" else _ALWAYS
    for status, description in refusals.items():
        operation["responses"][status] = {**REFUSAL, "description": description}
    if method == "post":
        operation.setdefault("parameters", []).append(_KEY)
