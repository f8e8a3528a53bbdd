r"""Signed notes and their keys, as C2SP signed-note and tlog-cosignature describe them.

    note     = text that ends in a newline, an empty line, signature lines
    line     = "— " name " " base64(key id ‖ signature) "\n"
    key id   = SHA-256(name ‖ "\n" ‖ type ‖ public key)[:4]
    vkey     = name "+" key id in hex "+" base64(type ‖ public key)

Two types of key, both Ed25519: 1 signs the text; 4, a witness, signs `cosignature/v1\ntime <seconds>\n` before the
text, and its signature begins with the time in eight bytes. Any other spelling of a note is refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from libs.tlog.errors import FormatError, SignatureError
from libs.tlog.spelling import MAX_NUMBER, base64_bytes, base64_text, shown

ED25519: Final = 1
COSIGNATURE: Final = 4
KEY_BYTES: Final = 32
MAX_NOTE: Final = 1_000_000  # bytes, as the Go checksum database's reader has it
MAX_SIGNATURES: Final = 100  # likewise
_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = {ED25519: 64, COSIGNATURE: _TIME_BYTES + 64}
_PREFIX: Final = "— "


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature line's content: whose it says it is, and the bytes after the key id."""

    name: str
    key_id: bytes
    raw: bytes

    def line(self) -> str:
        """As it stands in a note, with its newline."""
        return f"{_PREFIX}{self.name} {base64_text(self.key_id + self.raw)}\n"


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that holds, and the key; `time` is a witness's, in Unix seconds."""

    key: "Verifier"
    signature: Signature
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A note's text, what of its signatures holds, and those of keys that nobody asked about."""

    text: str
    verified: tuple[Verified, ...]
    unknown: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key with its name. Raises FormatError for a name or key that cannot be one."""

    name: str
    public: bytes
    kind: int = ED25519

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in _SIGNATURE_BYTES:
            raise FormatError(f"key {self.name} has type {self.kind}, which is not known here")
        if len(self.public) != KEY_BYTES:
            raise FormatError(f"key {self.name} is {len(self.public)} bytes, not {KEY_BYTES}")

    @classmethod
    def parse(cls, vkey: str) -> "Verifier":
        """The key of a vkey. Raises FormatError, also where its id is not that of its name and key."""
        parts = vkey.split("+", 2)
        if len(parts) != 3:
            raise FormatError(f"not a verifier key (name+id+key): {shown(vkey)}")
        name, key_id, encoded = parts
        raw = base64_bytes(encoded, f"the key in {name}'s vkey")
        found = cls(name, raw[1:], raw[0] if raw else 0)
        if found.key_id.hex() != key_id:
            raise FormatError(f"the key id of {name} is {shown(key_id)}, but its key gives {found.key_id.hex()}")
        return found

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The key as text, to be handed to whoever verifies."""
        return f"{self.name}+{self.key_id.hex()}+{base64_text(bytes([self.kind]) + self.public)}"

    def verify(self, text: str, signature: Signature) -> Verified:
        """What the signature says of the text. Raises SignatureError unless it is this key's and holds."""
        if (signature.name, signature.key_id) != (self.name, self.key_id):
            raise SignatureError(f"the signature is {signature.name}'s {signature.key_id.hex()}, not {self.vkey}'s")
        if len(signature.raw) != _SIGNATURE_BYTES[self.kind]:
            raise SignatureError(f"the signature of {self.name} is {len(signature.raw)} bytes after the key id")
        time = int.from_bytes(signature.raw[:_TIME_BYTES]) if self.kind == COSIGNATURE else None
        self.verify_bytes(_signed(text, time), signature.raw[-64:])
        return Verified(self, signature, time)

    def verify_bytes(self, raw: bytes, signature: bytes) -> None:
        """Raise SignatureError unless the bare signature of the bytes holds."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, raw)
        except (InvalidSignature, ValueError):
            raise SignatureError(f"the signature of {self.name} ({self.key_id.hex()}) does not hold") from None


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, 32 bytes of seed, with its name: the log's own. Signing twice gives the same bytes."""

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_seed(self.name, self.seed)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, _public(self.seed))

    @property
    def key_id(self) -> bytes:
        """As of the public half."""
        return self.verifier.key_id

    @property
    def vkey(self) -> str:
        """As of the public half."""
        return self.verifier.vkey

    def sign(self, text: str) -> str:
        """The signature line of a text. Raises FormatError when the text cannot be a note's."""
        _check_text(text)
        return Signature(self.name, self.key_id, self.sign_bytes(text.encode())).line()

    def sign_bytes(self, raw: bytes) -> bytes:
        """The bare signature of bytes, for other envelopes than notes."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(raw)


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's private key: what it signs, it saw at a time."""

    name: str
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check_seed(self.name, self.seed)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return Verifier(self.name, _public(self.seed), COSIGNATURE)

    @property
    def vkey(self) -> str:
        """As of the public half."""
        return self.verifier.vkey

    def sign(self, text: str, time: int) -> str:
        """The line that says the text was seen at `time`, in Unix seconds."""
        _check_text(text)
        if not 0 <= time <= MAX_NUMBER:
            raise FormatError(f"{time} is no time of a cosignature")
        raw = Ed25519PrivateKey.from_private_bytes(self.seed).sign(_signed(text, time))
        return Signature(self.name, self.verifier.key_id, time.to_bytes(_TIME_BYTES) + raw).line()


def sign_note(text: str, signers: Sequence[Signer]) -> bytes:
    """The note of a text with a line of each signer. Raises FormatError when the text cannot be a note's."""
    if not signers:
        raise FormatError("a note has at least one signature")
    return f"{text}\n{''.join(signer.sign(text) for signer in signers)}".encode()


def cosigned(note: bytes, lines: Iterable[str]) -> bytes:
    """The note with further signature lines; what is there stays as it is. Raises FormatError on other lines."""
    parse_note(note)
    added = note + "".join(lines).encode()
    parse_note(added)
    return added


def parse_note(raw: bytes) -> tuple[str, list[Signature]]:
    """Text and signatures, of which nothing is verified yet. Raises FormatError."""
    if len(raw) > MAX_NOTE:
        raise FormatError(f"a note has at most {MAX_NOTE} bytes")
    try:
        whole = raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"the note is not UTF-8 at byte {error.start}") from None
    head, separator, tail = whole.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise FormatError("the note is not a text, an empty line and signature lines")
    _check_text(head + "\n")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"a note has at most {MAX_SIGNATURES} signatures")
    return head + "\n", [_signature(line, number) for number, line in enumerate(lines, 1)]


def open_note(raw: bytes, verifiers: Iterable[Verifier]) -> Note:
    """The note, signed by at least one of the keys.

    Raises:
        FormatError: it is no note.
        SignatureError: a signature of one of the keys does not hold, or none is there.
    """
    text, signatures = parse_note(raw)
    known = {(key.name, key.key_id): key for key in verifiers}
    verified: dict[tuple[str, bytes], Verified] = {}
    unknown = []
    for signature in signatures:
        whose = (signature.name, signature.key_id)
        if whose not in known:
            unknown.append(signature)
        elif whose in verified:
            raise SignatureError(f"{signature.name} ({signature.key_id.hex()}) signed twice")
        else:
            verified[whose] = known[whose].verify(text, signature)
    if not verified:
        raise SignatureError(_strangers(signatures, known.values()))
    return Note(text, tuple(verified.values()), tuple(unknown))


def _strangers(signatures: Iterable[Signature], keys: Iterable[Verifier]) -> str:
    found = ", ".join(f"{signature.name} ({signature.key_id.hex()})" for signature in signatures)
    wanted = ", ".join(f"{key.name} ({key.key_id.hex()})" for key in keys) or "nobody"
    return f"no signature of a known key: signed by {found}, known is {wanted}"


def _signature(line: str, number: int) -> Signature:
    name, space, encoded = line.removeprefix(_PREFIX).partition(" ")
    if not line.startswith(_PREFIX) or not space:
        raise FormatError(f"signature line {number} is not '— name base64': {shown(line)}")
    _check_name(name)
    raw = base64_bytes(encoded, f"the signature of {name}")
    if len(raw) <= _ID_BYTES:
        raise FormatError(f"the signature of {name} is too short")
    return Signature(name, raw[:_ID_BYTES], raw[_ID_BYTES:])


def _signed(text: str, time: int | None) -> bytes:
    """The bytes that a signature is over."""
    return (text if time is None else f"cosignature/v1\ntime {time}\n{text}").encode()


def _public(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _check_seed(name: str, seed: bytes) -> None:
    _check_name(name)
    if len(seed) != KEY_BYTES:
        raise FormatError(f"the seed of {name} is {len(seed)} bytes, not {KEY_BYTES}")


def _check_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() or char < " " for char in name):
        raise FormatError(f"no name of a key: {shown(name)}")


def _check_text(text: str) -> None:
    if len(text) < 2 or not text.endswith("\n"):
        raise FormatError("a note's text is empty or does not end in a newline")
    if any(char < " " and char != "\n" for char in text):
        raise FormatError("a note's text has a control character")
