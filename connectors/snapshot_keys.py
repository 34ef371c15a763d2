"""Reads the keys that Debezium stores of a running incremental snapshot. Pure.

It keeps them as hex of a serialised Java `Object[]`. Only what a key is made of is read: numbers, text
and null; of anything else the key is unknown. Nothing is ever instantiated.
"""

import struct
from typing import Final

from core.errors import DecodeError

KeyValue = int | float | str | None

_MAGIC: Final = b"\xac\xed\x00\x05"
_NULL, _REFERENCE, _CLASS, _OBJECT, _STRING, _ARRAY, _END = 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x78
_FIRST_HANDLE: Final = 0x7E0000
_NUMBERS: Final = {"B": ">b", "S": ">h", "I": ">i", "J": ">q", "F": ">f", "D": ">d"}
_LONGEST_KEY: Final = 64
"""Columns: far more than any key has."""


def decode_key(text: str) -> tuple[KeyValue, ...]:
    """The columns of one key. Raises DecodeError for what is no such key."""
    try:
        reader = _Reader(bytes.fromhex(text))
        return reader.key()
    except (ValueError, IndexError, struct.error, KeyError) as error:
        raise DecodeError(f"a snapshot's key cannot be read: {error}") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._handles: list[object] = []

    def key(self) -> tuple[KeyValue, ...]:
        if self._take(4) != _MAGIC or self._byte() != _ARRAY:
            raise ValueError("no Java array")
        self._class()
        self._handles.append("array")
        count = self._number(">i")
        if not 0 < count <= _LONGEST_KEY:
            raise ValueError(f"{count} columns")
        return tuple(self._value() for _ in range(count))

    def _value(self) -> KeyValue:
        kind = self._byte()
        if kind == _NULL:
            return None
        if kind == _STRING:
            return self._string()
        if kind == _REFERENCE:
            found = self._handles[self._number(">i") - _FIRST_HANDLE]
            if not isinstance(found, str):
                raise ValueError("a reference to no text")
            return found
        if kind == _OBJECT:
            fields = self._class()
            place = len(self._handles)
            self._handles.append(None)
            if len(fields) != 1:
                raise ValueError("an object that is no number")
            value = self._number(_NUMBERS[fields[0]])
            self._handles[place] = value
            return value
        raise ValueError(f"type {kind:#x}")

    def _class(self) -> tuple[str, ...]:
        """The types of a class's own and inherited fields, the inherited first."""
        kind = self._byte()
        if kind == _NULL:
            return ()
        if kind == _REFERENCE:
            known = self._handles[self._number(">i") - _FIRST_HANDLE]
            if not isinstance(known, tuple):
                raise ValueError("a reference to no class")
            return known
        if kind != _CLASS:
            raise ValueError(f"class {kind:#x}")
        self._utf()
        self._take(8 + 1)
        place = len(self._handles)
        self._handles.append(())
        own = []
        for _ in range(self._number(">H")):
            own.append(chr(self._byte()))
            self._utf()
            if own[-1] in "L[":
                raise ValueError("a field that is no number")
        if self._byte() != _END:
            raise ValueError("class annotations")
        fields = (*self._class(), *own)
        self._handles[place] = fields
        return fields

    def _string(self) -> str:
        text = self._utf()
        self._handles.append(text)
        return text

    def _utf(self) -> str:
        return self._take(self._number(">H")).decode("utf-8", "surrogatepass")

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise ValueError("it ends too early")
        self._at += count
        return taken
