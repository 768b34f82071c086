"""Whatever bytes arrive, the decoder returns a message or says that they are none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from include.respaldo.querylog.pgoutput import MalformedMessage, decode
from tests.unit.querylog.test_pgoutput import MESSAGES


@given(st.binary(max_size=200), st.sampled_from(list(b"BCORYIUDTM\0")))
def test_arbitrary_bytes_never_crash_the_decoder(data: bytes, kind: int) -> None:
    for candidate in (data, bytes([kind]) + data):
        try:
            decode(candidate)
        except MalformedMessage as e:
            assert str(e)  # noqa: PT017 - both outcomes are right


@given(st.sampled_from([data for data, _ in MESSAGES]), st.data())
def test_mutated_messages_never_crash_the_decoder(data: bytes, choices: st.DataObject) -> None:
    mutated = bytearray(data)
    for _ in range(choices.draw(st.integers(1, 4))):
        at = choices.draw(st.integers(0, len(mutated) - 1))
        mutated[at] = choices.draw(st.integers(0, 255))
    try:
        decode(bytes(mutated))
    except MalformedMessage as e:
        assert str(e)  # noqa: PT017 - both outcomes are right
