"""An object in S3 as a file that can be gone about in: a video is read where it lies, and kept nowhere."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable

BLOCK_BYTES = 4 * 1024 * 1024
"""Bytes fetched at a time."""

BLOCKS = 4
"""Blocks kept: sound and pictures of one moment, and the tables of a container, lie apart."""


class BlockFile(io.RawIOBase):
    """A file of which blocks are fetched when they are read. For one thread."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        """size: in bytes. fetch: the bytes from the first place up to the second, not included."""
        super().__init__()
        self._size = size
        self._fetch = fetch
        self._place = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place now."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(start + offset, 0)
        return self._place

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, and no more than to the end of a block; all that are left for -1."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK_BYTES), b""))
        if self._place >= self._size:
            return b""
        number, offset = divmod(self._place, BLOCK_BYTES)
        data = self._block(number)[offset : offset + size]
        self._place += len(data)
        return data

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # 3.11 has no name for it
        """Read into a buffer as `read` does; how many bytes those are."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            start = number * BLOCK_BYTES
            self._blocks[number] = self._fetch(start, min(start + BLOCK_BYTES, self._size))
            if len(self._blocks) > BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]
