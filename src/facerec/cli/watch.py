"""`facerec watch`: a live stream, watched for the faces of a collection.

Events are the records of Rekognition's stream processors, one JSON object a line on standard output: one for
each frame in which a face was found.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Annotated, Any

import typer

from facerec.api.rekognition.shapes import compared_face, face_match
from facerec.bootstrap import open_service
from facerec.cli.auditing import audited
from facerec.cli.output import note
from facerec.config import Settings, read_settings
from facerec.engine.video.live import LiveFrame, LiveStream
from facerec.errors import NoticeFailed
from facerec.notices.webhook import Webhook
from facerec.services.audit import Act
from facerec.services.videos.watching import Sighting

BYTES_A_PIXEL = 6
"""What a frame at work takes in memory: its own pixels and those converted."""


def watch(
    url: Annotated[str, typer.Argument(help="rtsp://, http(s)://, a file, or /dev/video0.")],
    collection: Annotated[str, typer.Option(help="Collection in which faces are looked for.")],
    threshold: Annotated[float, typer.Option(min=0, max=100, help="Least similarity.")] = 80.0,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Most matches of a face.")] = 5,
    fps: Annotated[float, typer.Option(min=0.1, max=60, help="Most frames a second looked at.")] = 5.0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for the stream.")] = 10.0,
    reconnects: Annotated[
        int | None, typer.Option(min=0, help="Times to open it again in a row; default: for ever.")
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="POST each event to this address as well.")] = None,
    matches_only: Annotated[bool, typer.Option(help="Tell of faces of the collection alone.")] = False,
) -> None:
    """Watch a live stream, and tell whose faces are to be seen, as JSON lines."""
    settings = read_settings()
    tell = _teller(settings, webhook)
    stream_id = str(uuid.uuid4())
    with (
        open_service(settings) as service,
        closing(LiveStream(url, timeout_seconds=timeout, reconnects=reconnects, note=note)) as stream,
    ):
        service.collections.describe(collection)
        while (frame := stream.newest()) is not None:
            began = time.monotonic()
            picture = frame.picture
            seen = service.watching.look(
                collection,
                picture,
                nbytes=picture.width * picture.height * BYTES_A_PIXEL,
                threshold=threshold,
                limit=limit,
            )
            if any(one.matches for one in seen) or (seen and not matches_only):
                matched = [match.face.face_id for one in seen for match in one.matches]
                with audited(service.audit, "watch", collection, act=Act.SEARCH, faces=matched):
                    tell(json.dumps(_record(stream_id, frame, seen)))
            time.sleep(max(1 / fps - (time.monotonic() - began), 0))


def _teller(settings: Settings, address: str | None) -> Callable[[str], None]:
    """What prints an event, and sends it to the webhook; one that does not answer holds nothing up."""
    secret = settings.webhook_secret
    hook = None if address is None else Webhook(address, secret.get_secret_value() if secret else None)

    def tell(record: str) -> None:
        typer.echo(record)
        if hook is not None:
            try:
                hook.post(record)
            except NoticeFailed as error:
                note(str(error))

    return tell


def _record(stream_id: str, frame: LiveFrame, seen: Sequence[Sighting]) -> dict[str, Any]:
    """One record of a stream processor. Of a stream that is no Kinesis video, the times alone are known."""
    return {
        "InputInformation": {
            "KinesisVideo": {
                "StreamArn": f"stream:{stream_id}",
                "FragmentNumber": "0",
                "ServerTimestamp": round(frame.received_at, 3),
                "ProducerTimestamp": round(frame.received_at, 3),
                "FrameOffsetInSeconds": round(frame.offset_seconds, 3),
            }
        },
        "StreamProcessorInformation": {"Status": "RUNNING"},
        "FaceSearchResponse": [
            {
                "DetectedFace": compared_face(one.face),
                "MatchedFaces": [_present(face_match(match)) for match in one.matches],
            }
            for one in seen
        ],
    }


def _present(match: dict[str, Any]) -> dict[str, Any]:
    """A match without members that are None."""
    face = {name: value for name, value in match["Face"].items() if value is not None}
    return {**match, "Face": face}
