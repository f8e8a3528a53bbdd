"""The base of every fact's payload: ids and the new values of what changed; no whole objects, no secrets."""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class MalformedPayload(ValueError):
    """A payload is not of its fact's shape; the text names the field, never the value."""


class Fact(BaseModel):
    """Something that happened, in the past tense. Consumers ignore fields they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", cache_strings="keys")

    subject: ClassVar[str]
    aggregate: ClassVar[str]
    version: ClassVar[int] = 1

    @classmethod
    def schema_name(cls) -> str:
        """What `ce-dataschema` says, such as `rr:incident.created/1`."""
        return f"rr:{cls.subject}/{cls.version}"

    def encode(self) -> bytes:
        """The payload's bytes, made once: these are stored, published, committed to and chained."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """The fact in `payload`.

        Raises:
            MalformedPayload: not JSON, or a field is missing or of another type.
        """
        try:
            return cls.model_validate_json(payload)
        except ValidationError as error:
            raise MalformedPayload(describe(error)) from None


def describe(error: ValidationError) -> str:
    """What is wrong, field by field, without the values: `severity: Input should be …; title: Field required`."""
    problems = [
        f"{'.'.join(_name(part) for part in item['loc']) or 'body'}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return "; ".join(problems[:10]) + (f"; and {len(problems) - 10} more" if len(problems) > 10 else "")


def _name(part: int | str) -> str:
    """A field's name, cut and escaped: a sender may name fields as it likes."""
    text = str(part)
    return ascii(text[:64])[1:-1] if not text.isprintable() or len(text) > 64 else text
