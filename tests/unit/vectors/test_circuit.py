"""The circuit opens after failures, lets one try after a pause, and closes when the store answers."""

from __future__ import annotations

from facerec.vectors.remote.circuit import FAILURES, LONGEST_PAUSE, Circuit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_one_failure_keeps_nobody_from_asking() -> None:
    circuit = Circuit(clock=Clock())
    circuit.failed("gone")
    assert circuit.admit()
    trouble = circuit.trouble
    assert trouble is not None
    assert trouble.message == "gone"
    circuit.succeeded()
    assert circuit.trouble is None


def test_an_open_circuit_lets_one_through_after_each_pause() -> None:
    clock = Clock()
    circuit = Circuit(clock=clock)
    for _ in range(FAILURES):
        circuit.failed("gone")
    assert not circuit.admit()
    for _ in range(12):
        clock.now += LONGEST_PAUSE
        assert circuit.admit()
        assert not circuit.admit()
        circuit.failed("still gone")
    trouble = circuit.trouble
    assert trouble is not None
    assert (trouble.message, trouble.since) == ("still gone", 100.0)
    clock.now += LONGEST_PAUSE
    assert circuit.admit()
    circuit.succeeded()
    assert circuit.admit()
    assert circuit.admit()
