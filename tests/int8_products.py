"""A mark for tests of int8 networks, which older processors compute otherwise: sums overflow on their way."""

from __future__ import annotations

import pytest

from facerec.engine.runtime.precision import NO_INT8_PRODUCTS, multiplies_int8

needs_int8_products = pytest.mark.skipif(not multiplies_int8(), reason=NO_INT8_PRODUCTS)
