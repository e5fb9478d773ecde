"""`facerec people`."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from facerec.bootstrap import open_service
from facerec.cli.auditing import audited
from facerec.cli.output import AsJson, note, print_json, say
from facerec.config import read_settings
from facerec.domain import ImageReference, LocalImage, Review
from facerec.services.albums.manifests import kind_of
from facerec.services.albums.sources import parse_source
from facerec.services.registry.bulk import Entry, ReadEntry, bring, every_person, read_people
from facerec.services.registry.values import Enrolment

people_app = typer.Typer(no_args_is_help=True, help="Persons of the registry, many at once.")


@people_app.command("import")
def import_people(
    manifest: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="JSON lines ({person_id, images, metadata}) or CSV (person_id, image, ...). Pictures are "
            "files beside it, s3://bucket/key or web addresses.",
        ),
    ],
    review: Annotated[Review | None, typer.Option(help="How strictly to look at the pictures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Enrol the persons of a manifest; running it again goes on where it was broken off."""
    settings = read_settings()
    taken: Counter[str] = Counter()
    refused: list[dict[str, object]] = []
    missing: list[str] = []
    with open_service(settings) as service, ThreadPoolExecutor(settings.threads) as pool:

        def work(entry: Entry) -> tuple[Entry, Enrolment]:
            collection = service.registry.policy.collection
            with audited(service.audit, "people import", collection, people=[entry.person_id]) as written:
                enrolment = bring(service.registry, entry, lambda text: _reference(manifest, text), review)
                written.faces += [image.face_id for image in enrolment.images if image.face_id is not None]
            return entry, enrolment

        entries, faults = _read(manifest)
        for entry, enrolment in pool.map(work, entries):
            taken["persons"] += enrolment.person is not None
            if enrolment.person is None:
                missing.append(entry.person_id)
            for image in enrolment.images:
                taken["pictures"] += image.refusal is None
                if image.refusal is not None:
                    kind = type(image.refusal).__name__
                    reason = {"Image": entry.images[image.index], "Reason": kind}
                    refused.append({"PersonId": entry.person_id, **reason, "Message": str(image.refusal)})
    if as_json:
        print_json(
            {
                "Persons": taken["persons"],
                "Pictures": taken["pictures"],
                "Refused": refused,
                "NotEnrolled": missing,
                "Faults": [{"Line": fault.number, "Message": fault.reason} for fault in faults],
            }
        )
    else:
        say(f"Enrolled {taken['persons']} persons from {taken['pictures']} pictures.")
        for one in refused:
            note(f"{one['PersonId']}, {one['Image']}: {one['Message']}")
        for fault in faults:
            note(f"line {fault.number}: {fault.reason}")
    if missing or faults:
        raise typer.Exit(1)


@people_app.command("export")
def export_people() -> None:
    """Print every person with its metadata, a line of JSON each; embeddings go by `facerec export`."""
    with open_service(read_settings()) as service:
        for person in every_person(service.registry):
            values = asdict(person)
            del values["qualities"]
            typer.echo(json.dumps(values, ensure_ascii=False))


def _read(manifest: Path) -> tuple[list[Entry], list[ReadEntry]]:
    """The persons of a manifest, and the lines that name none."""
    with manifest.open("rb") as file:
        read = list(read_people(file, kind_of(manifest.name)))
    return [one.entry for one in read if one.entry is not None], [one for one in read if one.entry is None]


def _reference(manifest: Path, text: str) -> ImageReference:
    """What a picture of a manifest refers to: an address, or a file from the manifest's folder."""
    return parse_source(text) if "://" in text else LocalImage(manifest.parent / text)
