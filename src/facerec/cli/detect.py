"""`facerec detect` and `facerec compare`: look at pictures without storing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facerec.api.rekognition.shapes import compared_face, face_detail
from facerec.bootstrap import Service, open_service
from facerec.cli.drawing import PALETTE, Mark, mark_faces, save
from facerec.cli.output import AsJson, print_json, print_table, say
from facerec.config import read_settings
from facerec.domain import DetectedFace, LocalImage
from facerec.errors import PackError

Image = Annotated[Path, typer.Argument(help="A picture file.")]


def detect(
    image: Image,
    draw: Annotated[
        Path | None, typer.Option(help="Write the picture with the faces marked to this file.")
    ] = None,
    liveness: Annotated[
        bool, typer.Option("--liveness", help="Say how surely each face is a live one, 0 to 100.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find the faces of a picture: box, confidence, landmarks, pose, quality, and what the pack says of
    them.
    """
    with open_service(read_settings()) as service:
        faces = service.analysis.detect(LocalImage(image), service.engine.attributes)
        scores = service.analysis.liveness(LocalImage(image)) if liveness else []
        if scores is None:
            pack = service.engine.contract.pack
            raise PackError(f"the pack {pack} has no liveness networks: facerec packs add minifasnet")
        if draw is not None:
            _draw(service, image, faces, draw)
    if as_json:
        details = [face_detail(face) for face in faces]
        if liveness:
            details = [one | {"Liveness": score} for one, score in zip(details, scores, strict=True)]
        print_json({"FaceDetails": details})
        return
    if not faces:
        say(f"{image}: no face.")
    else:
        rows = [_row(number, face) for number, face in enumerate(faces, 1)]
        if liveness:
            rows = [(*row, score) for row, score in zip(rows, scores, strict=True)]
        columns = (
            "face",
            "confidence",
            "box (% of the picture)",
            "roll/yaw/pitch",
            "bright",
            "sharp",
            "looks like",
            *(["liveness"] if liveness else []),
        )
        print_table(columns, rows, title=f"{image}: {len(faces)} face{'s' if len(faces) > 1 else ''}")
    if draw is not None:
        say(f"Drawn in {draw}.")


def compare(
    source: Annotated[Path, typer.Argument(help="The picture whose largest face is looked for.")],
    target: Annotated[Path, typer.Argument(help="The picture it is looked for in.")],
    threshold: Annotated[float, typer.Option(min=0, max=100, help="Least similarity of a match.")] = 80.0,
    as_json: AsJson = False,
) -> None:
    """Compare the largest face of one picture with every face of another."""
    with open_service(read_settings()) as service:
        result = service.analysis.compare(LocalImage(source), LocalImage(target), threshold=0)
    matches = [face for face in result.matches if face.similarity >= threshold]
    others = [face for face in result.matches if face.similarity < threshold]
    if as_json:
        print_json(
            {
                "SourceImageFace": compared_face(result.source),
                "FaceMatches": [
                    {"Similarity": m.similarity, "Cosine": m.cosine, "Face": compared_face(m.face)}
                    for m in matches
                ],
                "UnmatchedFaces": [compared_face(face.face) for face in others],
            }
        )
        return
    rows = [
        (
            number,
            "same person" if face in matches else "another person",
            face.similarity,
            f"{face.cosine:.3f}",
            _box(face.face),
        )
        for number, face in enumerate((*matches, *others), 1)
    ]
    print_table(
        ("face", f"at {threshold:g}", "similarity", "cosine", "box (% of the picture)"),
        rows,
        title=f"{source} in {target}",
    )


def _draw(service: Service, image: Path, faces: list[DetectedFace], target: Path) -> None:
    picture = service.engine.decode(image.read_bytes())
    marks = [
        Mark(face, f"{number}  {face.confidence:.1f} %", PALETTE[(number - 1) % len(PALETTE)])
        for number, face in enumerate(faces, 1)
    ]
    save(mark_faces(picture.pixels, marks), target, inputs=[image])


def _row(number: int, face: DetectedFace) -> tuple[object, ...]:
    pose, said = face.pose, face.attributes
    looks = [
        said.gender.value.lower() if said.gender else "",
        f"{said.age_range.low} to {said.age_range.high} years" if said.age_range else "",
        "smiling" if said.smile and said.smile.value else "",
    ]
    return (
        number,
        face.confidence,
        _box(face),
        f"{pose.roll:.0f} / {pose.yaw:.0f} / {pose.pitch:.0f}",
        face.quality.brightness,
        face.quality.sharpness,
        ", ".join(part for part in looks if part),
    )


def _box(face: DetectedFace) -> str:
    box = face.box
    return f"{box.width:.0%} x {box.height:.0%} at {box.left:.0%}, {box.top:.0%}"
