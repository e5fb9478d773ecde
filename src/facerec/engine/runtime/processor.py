"""What this machine's processor can, as far as the system tells."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_SUMS_IN_32_BITS = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm"})
_SUMS_IN_16_BITS = frozenset({"ssse3"})
_BF16_PRODUCTS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


class Int8Products(Enum):
    """How a processor sums products of int8."""

    IN_32_BITS = "in 32 bits"
    """VNNI, AMX, Arm's dot products: no sum overflows."""
    IN_16_BITS = "two in 16 bits first"
    """Older x86 (PMADDUBSW): a sum of two products that does not fit becomes the greatest that does."""
    UNKNOWN = "unknown"


def int8_products() -> Int8Products:
    """How this processor sums products of int8."""
    instructions = processor_instructions()
    if instructions & _SUMS_IN_32_BITS:
        return Int8Products.IN_32_BITS
    return Int8Products.IN_16_BITS if instructions & _SUMS_IN_16_BITS else Int8Products.UNKNOWN


def multiplies_bf16() -> bool:
    """Whether the processor has products of bfloat16."""
    return bool(processor_instructions() & _BF16_PRODUCTS)


def processor_instructions() -> frozenset[str]:
    """Names of the processor's instruction sets, as Linux gives them; none where that is not told."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    fields = (line.partition(":") for line in lines)
    return frozenset(
        name for key, _, value in fields if key.strip() in ("flags", "Features") for name in value.split()
    )
