"""What strangers send: whatever the bytes, it is read, or refused by one of the errors that are meant for it.

`make fuzz` looks at many more (FUZZ_EXAMPLES).
"""

from __future__ import annotations

import io
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from facerec.api.rekognition.errors import MalformedRequest
from facerec.api.rekognition.model import read_model
from facerec.api.rekognition.protocol import parse
from facerec.auth.sigv4 import SignedRequest, verify
from facerec.engine.decoding import decode
from facerec.errors import AccessDenied, ImageTooLarge, InvalidImage

MODEL = read_model()
MAX_PIXELS = 1_000_000
bounded = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((48, 32)).convert("RGB").save(file, form)
    return file.getvalue()


PICTURES = [picture(form) for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A picture with some of its bytes changed, cut off, or doubled."""
    data = bytearray(draw(st.sampled_from(PICTURES)))
    for place, value in draw(
        st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=12)
    ):
        data[place] = value
    cut = draw(st.integers(0, len(data)))
    return bytes(data[:cut] if draw(st.booleans()) else data + data[cut:])


@bounded
@given(data=damaged() | st.binary(max_size=400))
def test_a_picture_is_decoded_or_refused(data: bytes) -> None:
    try:
        pixels = decode(data, max_pixels=MAX_PIXELS).pixels
    except (InvalidImage, ImageTooLarge):
        return
    assert pixels.ndim == 3
    assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS


json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["Image", "Bytes", "S3Object", "CollectionId", "MaxFaces", "Tags", "FaceIds", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@bounded
@given(
    operation=st.sampled_from(sorted(MODEL.operations)),
    body=st.binary(max_size=200) | json_texts.map(lambda value: json.dumps(value).encode()),
)
def test_a_body_is_parsed_or_refused(operation: str, body: bytes) -> None:
    try:
        parameters = parse(MODEL.operations[operation].input, body)
    except MalformedRequest:
        return
    assert isinstance(parameters, dict)


HEADER = (
    b"AWS4-HMAC-SHA256 Credential=KEY/20260101/us-east-1/rekognition/aws4_request, "
    b"SignedHeaders=host;x-amz-date, Signature=" + b"0" * 64
)


@bounded
@given(
    authorization=st.binary(max_size=120)
    | st.tuples(st.integers(0, len(HEADER) - 1), st.binary(max_size=6)).map(
        lambda change: HEADER[: change[0]] + change[1] + HEADER[change[0] + 1 :]
    ),
    query=st.binary(max_size=80) | st.just(b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=%zz"),
    path=st.binary(max_size=40),
    date=st.binary(max_size=20) | st.just(b"20260101T000000Z"),
)
def test_a_forged_signature_is_refused(authorization: bytes, query: bytes, path: bytes, date: bytes) -> None:
    request = SignedRequest(
        method="POST",
        path=b"/" + path,
        query=query,
        headers=((b"host", b"here"), (b"x-amz-date", date), (b"authorization", authorization)),
        body=b"{}",
    )
    with pytest.raises(AccessDenied):
        verify(request, secret_for={"KEY": "secret"}.get, now=1_767_225_600.0, clock_skew_seconds=300)
