"""Whether networks run in int8 here, and a mark for tests of int8 networks."""

from __future__ import annotations

import pytest

from facerec.engine.runtime.precision import NO_INT8_PRODUCTS
from facerec.engine.runtime.processor import Int8Products, int8_products

INT8_HERE = int8_products() is not Int8Products.UNKNOWN
"""Whether FACEREC_PRECISION=auto may choose int8 on this processor."""

needs_int8_products = pytest.mark.skipif(not INT8_HERE, reason=NO_INT8_PRODUCTS)
