"""Walks the primitives of dlib's serialization.

Integers are one control byte and 1 to 8 magnitude bytes, floating point numbers two integers (mantissa, then
exponent), tensors raw little-endian float32. Counts are checked against the bytes that are left before memory
is taken, so a damaged file can not ask for more than its own size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facerec.errors import PackError

Array = NDArray[np.float32]

_NEGATIVE, _RESERVED, _LENGTH = 0x80, 0x70, 0x0F
"""Bits of an integer's control byte: its sign, bits that are never set, the number of magnitude bytes."""
_MOST_LENGTH = 8
_STEPS = bytes(1 + (control & _LENGTH) if control & _LENGTH else 0 for control in range(256))
"""By control byte, from one integer to the next; where none can start it goes no further."""
_MOST_INTEGER = (1 << 63) - 1
_MOST_EXPONENT = 1000
"""Far beyond any weight; dlib writes infinity and not-a-number as exponents from 32000 on."""
_MOST_SIZE = 1 << 24
_MOST_NAME = 64


class Reader:
    """Walks the bytes of a file; every step checks that the bytes are there."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        # As many zeros behind the end as the longest step, so that each leads to a byte.
        padded = data + bytes(16)
        self._bytes = np.frombuffer(padded, np.uint8)
        self._steps = padded.translate(_STEPS)
        self._name = name
        self._at = 0

    def error(self, found: str) -> PackError:
        """An error that names the file, the position and what was found there."""
        return PackError(
            f"{self._name}: {found} before byte {self._at} of {len(self._data)}: "
            "the file is damaged or of another kind; install face_recognition_models 0.3.0 again"
        )

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._data):
            raise self.error(f"{len(self._data) - self._at} bytes left over")

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self._data) - self._at:
            raise self.error(f"the end, {count} bytes wanted,")
        self._at += count
        return self._data[self._at - count : self._at]

    def integers(self, count: int) -> NDArray[np.int64]:
        """The next `count` integers, (count,) int64."""
        if 2 * count > len(self._data) - self._at:
            raise self.error(f"the end, {count} integers wanted,")
        starts, at = [], self._at
        for _ in range(count):
            starts.append(at)
            at += self._steps[at]
        # Millions of them: Python looks for where each starts, and NumPy reads and checks them all.
        first = np.array(starts, np.int64)
        controls = self._bytes[first]
        lengths = controls & _LENGTH
        values = np.zeros(count, np.uint64)
        for place in range(_MOST_LENGTH):
            longer = np.flatnonzero(lengths > place)
            values[longer] |= self._bytes[first[longer] + 1 + place].astype(np.uint64) << np.uint64(8 * place)
        unsound = (controls & _RESERVED != 0) | (lengths < 1) | (lengths > _MOST_LENGTH)
        unsound |= first + 1 + lengths > len(self._data)
        wrong = np.flatnonzero(unsound | (values > _MOST_INTEGER))
        if wrong.size:
            self._at = int(first[wrong[0]])
            known = f"the integer {values[wrong[0]]}"
            raise self.error("a byte that starts no integer" if unsound[wrong[0]] else known)
        self._at = at
        signed = values.astype(np.int64)
        return np.where(controls & _NEGATIVE, -signed, signed)

    def integer(self) -> int:
        """The next integer."""
        return int(self.integers(1)[0])

    def peek(self) -> int:
        """The next integer, which stays the next."""
        at = self._at
        value = self.integer()
        self._at = at
        return value

    def expect(self, value: int, what: str) -> None:
        """Read an integer that has to be `value`."""
        found = self.integer()
        if found != value:
            raise self.error(f"{what} {found} where {value} belongs")

    def count(self, what: str) -> int:
        """A number of things that follow, each at least two bytes long."""
        value = self.integer()
        if not 1 <= value <= (len(self._data) - self._at) // 2:
            raise self.error(f"a count of {value} {what}")
        return value

    def size(self, what: str) -> int:
        """A size of a layer."""
        value = self.integer()
        if not 1 <= value <= _MOST_SIZE:
            raise self.error(f"a size of {value} {what}")
        return value

    def boolean(self) -> bool:
        """The next boolean: one ASCII digit."""
        value = self.take(1)
        if value not in (b"0", b"1"):
            raise self.error("a byte that is no boolean")
        return value == b"1"

    def string(self) -> str:
        """The next string: a length and that many bytes."""
        length = self.integer()
        if not 0 <= length <= _MOST_NAME:
            raise self.error(f"a name of {length} bytes")
        return self.take(length).decode("ascii", "replace")

    def scaled(self, mantissas: NDArray[np.int64], exponents: NDArray[np.int64]) -> Array:
        """mantissa * 2^exponent as float32, any shape; a value that is not finite is damage."""
        return self._scaled(mantissas, exponents).astype(np.float32)

    def _scaled(self, mantissas: NDArray[np.int64], exponents: NDArray[np.int64]) -> NDArray[np.float64]:
        if exponents.size and np.abs(exponents).max() > _MOST_EXPONENT:
            raise self.error("a number that is not finite")
        return np.ldexp(mantissas.astype(np.float64), exponents.astype(np.int32))

    def doubles(self, count: int) -> NDArray[np.float64]:
        """The next `count` floating point numbers, (count,) float64: mantissa first, then exponent."""
        pairs = self.integers(2 * count).reshape(count, 2)
        return self._scaled(pairs[:, 0], pairs[:, 1])

    def floats(self, count: int) -> Array:
        """The next `count` floating point numbers, (count,) float32."""
        return self.doubles(count).astype(np.float32)

    def alias(self) -> tuple[int, int, int, int]:
        """The shape in an alias tensor, which carries no data."""
        self.expect(1, "version of an alias tensor")
        return self._shape()

    def tensor(self) -> Array:
        """The next tensor, (samples, channels, rows, columns) float32; empty where one of its sizes is 0."""
        self.expect(2, "version of a tensor")
        shape = self._shape()
        total = shape[0] * shape[1] * shape[2] * shape[3]
        values = np.frombuffer(self.take(4 * total), "<f4").astype(np.float32).reshape(shape)
        if not np.isfinite(values).all():
            raise self.error("a number that is not finite")
        return values

    def _shape(self) -> tuple[int, int, int, int]:
        sizes = tuple(int(size) for size in self.integers(4))
        if min(sizes) < 0 or max(sizes) > _MOST_SIZE:
            raise self.error(f"a tensor of shape {sizes}")
        return (sizes[0], sizes[1], sizes[2], sizes[3])
