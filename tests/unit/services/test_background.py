from __future__ import annotations

import itertools
import threading
import time

from facerec.errors import StorageError
from facerec.services.background import Background


def test_what_fails_is_tried_again_after_longer_pauses_until_it_is_well() -> None:
    began: list[float] = []
    enough = threading.Event()

    def work() -> None:
        began.append(time.monotonic())
        if len(began) >= 10:
            enough.set()
        if len(began) <= 5:
            raise StorageError

    background = Background("upkeep", work, pause=0.02)
    assert enough.wait(30)
    background.close()
    gaps = [after - before for before, after in itertools.pairwise(began)]
    assert all(gap >= least for gap, least in zip(gaps, (0.04, 0.08, 0.16, 0.32, 0.64), strict=False))
    assert min(gaps[5:9]) < 0.32
