"""The bytes of a checked expression, read into a tree and written back: protobuf's wire format, as far as needed.

The library offers an expression's tree only as serialized `cel.expr.CheckedExpr`. A field that this module does not
know stays as it came, so writing a tree that was not changed gives back the same bytes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

MAX_DEPTH: Final = 200  # two messages a level; the way back takes two frames a message, of Python's thousand
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS: Final = {_FIXED64: 8, _FIXED32: 4}

Schema = Mapping[int, str]


class Unreadable(ValueError):
    """The bytes are not what the library writes, or are nested too deeply."""


@dataclass(slots=True)
class Field:
    """One field of a message. `value` is an int (varint), bytes, or a message that the schema knows."""

    number: int
    wire: int
    value: "int | bytes | Message"


@dataclass(slots=True)
class Message:
    """One message: its fields in the order in which they came."""

    fields: list[Field]

    def message(self, number: int) -> "Message | None":
        """The message in a field; None if it is not there."""
        return next(self.messages(number), None)

    def messages(self, number: int) -> "Iterator[Message]":
        """Every message in a repeated field."""
        return (item.value for item in self.fields if item.number == number and isinstance(item.value, Message))

    def text(self, number: int) -> str:
        """The string in a field; empty if it is not there, as protobuf has it."""
        found = next((item.value for item in self.fields if item.number == number), b"")
        return found.decode() if isinstance(found, bytes) else ""

    def number(self, number: int) -> int:
        """The number in a field; zero if it is not there, as protobuf has it."""
        found = next((item.value for item in self.fields if item.number == number), 0)
        return found if isinstance(found, int) else 0

    def has(self, number: int) -> bool:
        """Whether a field is there."""
        return any(item.number == number for item in self.fields)


def read(data: bytes, kind: str, schemas: Mapping[str, Schema], depth: int = 0) -> Message:
    """The message of a kind in `data`; `schemas` says which fields of a kind are messages, and of which kind.

    Raises:
        Unreadable: as its class says.
    """
    if depth > MAX_DEPTH:
        raise Unreadable("is nested too deeply")
    known, fields, position = schemas[kind], [], 0
    while position < len(data):
        tag, position = _varint(data, position)
        value, position = _value(data, position, tag & 7)
        inner = known.get(tag >> 3)
        if inner is not None and isinstance(value, bytes):
            fields.append(Field(tag >> 3, tag & 7, read(value, inner, schemas, depth + 1)))
        else:
            fields.append(Field(tag >> 3, tag & 7, value))
    return Message(fields)


def write(message: Message) -> bytes:
    """The bytes of a message."""
    data = bytearray()
    for field in message.fields:
        data += _written(field)
    return bytes(data)


def submessage(number: int, *fields: Field) -> Field:
    """A field that holds a message of these fields."""
    return Field(number, _BYTES, Message(list(fields)))


def varint(number: int, value: int) -> Field:
    """A field that holds a number from 0 on."""
    return Field(number, _VARINT, value)


def text(number: int, value: str) -> Field:
    """A field that holds a string."""
    return Field(number, _BYTES, value.encode())


def _value(data: bytes, position: int, wire: int) -> tuple[int | bytes, int]:
    if wire == _VARINT:
        return _varint(data, position)
    if wire == _BYTES:
        length, position = _varint(data, position)
    elif wire in _WIDTHS:
        length = _WIDTHS[wire]
    else:
        raise Unreadable(f"wire type {wire}")
    end = position + length
    if end > len(data):
        raise Unreadable("ends early")
    return data[position:end], end


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        result |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return result, position
    raise Unreadable("ends early")


def _written(field: Field) -> bytes:
    tag = _varint_bytes(field.number << 3 | field.wire)
    if isinstance(field.value, int):
        return tag + _varint_bytes(field.value)
    value = write(field.value) if isinstance(field.value, Message) else field.value
    return tag + value if field.wire in _WIDTHS else tag + _varint_bytes(len(value)) + value


def _varint_bytes(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)
