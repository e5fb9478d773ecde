"""Writes what follows from the code: the pages on operations, errors and settings, and `.env.example`.

`python docs/generate.py` writes them; `tests/unit/test_generated_docs.py` fails when one is stale.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import AliasChoices
from pydantic_core import PydanticUndefined

from facerec import errors
from facerec.api.health import OK, Finding, Part
from facerec.api.metrics import State
from facerec.api.rekognition import errors as wire
from facerec.api.rekognition.model import read_model
from facerec.api.rekognition.operations import OPERATIONS
from facerec.api.rest.errors import REST_ERRORS
from facerec.config import Settings
from facerec.jobs.base import JobCounts
from facerec.observability.metrics import LABELS, REGISTRY
from facerec.services.figures import Figures

FOLDER = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; do not edit. -->"

DIFFERENCES = {
    "AssociateFaces": "The user is `ACTIVE` in the answer: its vector is made in the same transaction.",
    "CompareFaces": "`OrientationCorrection` members are left out, as AWS does for current models.",
    "CreateCollection": (
        "A collection stays with the model pack that the service ran when it was made, until `facerec "
        "migrate-model` gives it another one. The tag `facerec:face-ttl` (such as `30d`) says how long it "
        "keeps faces; other tag keys that begin with `facerec:` are refused."
    ),
    "CreateFaceLivenessSession": (
        "The person is sent to `/liveness/{SessionId}`, in place of Amplify's component. The challenge is "
        "always `FaceMovementChallenge` 1.0.0. `OutputConfig` takes a bucket of "
        "`FACEREC_LIVENESS_BUCKETS`; `KmsKeyId` counts beside it alone ([liveness](liveness.md))."
    ),
    "CreateUser": "",
    "DeleteCollection": "",
    "DeleteFaces": "",
    "DeleteUser": "The user's faces stay in the collection.",
    "DescribeCollection": "Faces past their time are not counted, swept or not.",
    "DetectFaces": "Attributes that the model pack does not judge are left out of the answer.",
    "DisassociateFaces": "A user without faces is `CREATED` again.",
    "GetFaceDetection": (
        "Attributes that the model pack does not judge are left out. A video that breaks off has succeeded, "
        "with a `StatusMessage`. Results are kept for `FACEREC_VIDEO_RESULTS_TTL` ([video](video.md))."
    ),
    "GetFaceLivenessSessionResults": (
        "What became of a session is known for ten minutes after its time; its pictures, where they are not "
        "in S3, for three. `Feedback` and `Metadata` are left out."
    ),
    "GetFaceSearch": (
        "A person is a face that is followed. `FaceMatches` holds up to 10 faces, none that was deleted "
        "since, and none for a person of whom no frame shows a good face."
    ),
    "IndexFaces": (
        "Attributes that the model pack does not judge are left out. The same image with the same "
        "`ExternalImageId` gives the same faces again."
    ),
    "ListCollections": "`MaxResults` 0 means the default of 1000.",
    "ListFaces": "`MaxResults` 0 means the default of 1000.",
    "ListTagsForResource": "Collections alone have tags. Both forms of an ARN are understood.",
    "ListUsers": "",
    "SearchFaces": "Sees every face that IndexFaces has answered. 80 matches without `MaxFaces`.",
    "SearchFacesByImage": "80 matches without `MaxFaces`.",
    "SearchUsers": (
        "80 matches without `MaxUsers`. By the mean of a user's faces, or by the best of them "
        "(`FACEREC_USER_MATCHING`)."
    ),
    "SearchUsersByImage": "80 matches without `MaxUsers`.",
    "StartFaceDetection": (
        "Five frames a second are looked at (`FACEREC_VIDEO_FPS`). MP4, MOV, Matroska, WebM, AVI and "
        "MPEG-TS. The role of `NotificationChannel` is not needed."
    ),
    "StartFaceSearch": "As StartFaceDetection. The collection is searched at the end of the video.",
    "TagResource": (
        "Collections alone have tags. Both forms of an ARN are understood. The tag `facerec:face-ttl` "
        "(`30d`, `12h`, `forever`) says how long the collection keeps faces ([retention](retention.md)); "
        "other keys that begin with `facerec:` are refused."
    ),
    "UntagResource": "Collections alone have tags. Both forms of an ARN are understood.",
}
"""What a client may notice, for each offered operation; empty where nothing is known to differ."""


OPERATIONS_INTRODUCTION = """
An operation that is not offered answers `AccessDeniedException` (HTTP 400) with the message `<operation>
is not offered by this service`. It is an error that the model lists for every operation, so AWS clients
raise it as their own exception class, and none of them repeats the request.

Every request is checked against every constraint of the model (lengths, ranges, patterns, enumerations),
and all violations are told at once in one `ValidationException`. Members that the model does not know are
ignored. Where the model allows both or neither of `Bytes` and `S3Object` in an `Image`, or of `UserId`
and `FaceId` in SearchUsers, the answer is `InvalidParameterException`.

A tag request for another account's ARN is answered with `AccessDeniedException`; for another region's, or
a resource that is no collection, with `ResourceNotFoundException`.
"""

ERRORS_INTRODUCTION = """
The service raises errors by meaning; this is how its two doors send them. At the Rekognition door, what
AWS clients repeat on their own are `ProvisionedThroughputExceededException`, `ThrottlingException` and
every 500.

The body is `{"__type", "Code", "Logref", "Message"}`; for what AWS's framework answers before an
operation begins (signatures, JSON, constraints) it is `{"__type", "message"}`. The header
`x-amzn-RequestId` has the id under which the log tells more. Of an internal error the client learns
nothing else.

Over REST the body is `{"code", "message", "hint", "correlation_id"}`, for an enrolment of which no picture
was taken also `images`, with what became of each. What may be repeated has the status 503 (or 429), with
`Retry-After`. `InvalidRequest` (422) is a request that is not as `/api/v1/openapi.json` describes it.
"""

METRICS_INTRODUCTION = """
What `/metrics` tells. A counter's samples end with `_total`; a histogram has `_bucket`, `_sum` and `_count`.
Beside them are `process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_cpu_seconds_total`,
`process_start_time_seconds`, `process_open_fds` and `process_max_fds`, each with the label `process`
(facerec, or supervisor, worker-1, worker-2). [Monitoring](monitoring.md) says how to read them.
"""

SETTINGS_INTRODUCTION = """
Read once, at start, from the environment and from a file `.env` in the working folder; the environment
wins. An empty value counts as none.
"""


def operations_page() -> str:
    """Every operation of the service model, offered or not."""
    operations = sorted(read_model().operations)
    rows = [(name, "yes" if name in OPERATIONS else "no", DIFFERENCES.get(name, "")) for name in operations]
    counted = f"\nOf the {len(operations)} operations of Amazon Rekognition {len(OPERATIONS)} are offered.\n"
    return _page(
        "Operations", counted + OPERATIONS_INTRODUCTION, ("Operation", "Offered", "What differs"), rows
    )


def errors_page() -> str:
    """Every error of the service: its meaning, and how the doors send it."""
    meanings = dict(_meanings())
    rows = []
    for error, row in wire.WIRE_ERRORS.items():
        meaning = meanings.get(error.__name__) or (inspect.getdoc(error) or "").rstrip(".")
        rest = REST_ERRORS.get(error)
        sent = (f"`{rest.code}`", str(rest.status)) if rest else ("", "")
        rows.append(
            (error.__name__, meaning[:1].upper() + meaning[1:], f"`{row.code}`", str(row.status), *sent)
        )
    heads = ("Error", "Meaning", "AWS code", "HTTP status", "REST code", "HTTP status")
    return _page("Errors", ERRORS_INTRODUCTION, heads, rows)


def settings_page() -> str:
    """Every setting: its name in the environment, default and meaning."""
    rows = [
        (" or ".join(f"`{name}`" for name in names), f"`{default}`" if default else "", meaning)
        for names, default, meaning in _settings()
    ]
    return _page("Settings", SETTINGS_INTRODUCTION, ("Name", "Default", "Meaning"), rows)


def metrics_page() -> str:
    """Every metric of the service, and what each panel of the dashboards tells."""
    rows = [
        (f"`{family.name}`", family.type, _names(LABELS.get(family.name, ())), family.documentation)
        for family in REGISTRY.collect()
    ]
    part = Part(name="model", kind="fake", ask=dict)
    figures = Figures(
        collections=0, faces=0, users=0, videos=0, jobs={"album-image": JobCounts()}, store=None
    )
    found = [Finding(part=part, status=OK, seconds=0.0), Finding(part=_queue(part), status=OK, seconds=0.0)]
    about = {"pack": "", "model_version": "", "database": "", "vector_store": ""}
    rows += [
        (f"`{family.name}`", family.type, _names(family.samples[0].labels), family.documentation)
        for family in State(found, figures, about, draining=False).collect()
    ]
    page = _page("Metrics", METRICS_INTRODUCTION, ("Name", "Type", "Labels", "Meaning"), rows)
    return page + "\n## Dashboards\n" + "".join(_dashboards())


def _queue(part: Part) -> Part:
    return replace(part, name="queue")


def _names(labels: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in labels)


def _dashboards() -> Iterator[str]:
    """A table of each dashboard's panels."""
    for path in sorted((FOLDER.parent / "deploy" / "grafana" / "dashboards").glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        yield f"\n### {board['title']}\n\n{board['description']} (`{path.relative_to(FOLDER.parent)}`)\n\n"
        yield "| Panel | Tells |\n| --- | --- |\n"
        for panel in board["panels"]:
            yield f"| {panel['title']} | {panel['description']} |\n"


def env_example() -> str:
    """Every setting with its default, commented out: a start for a `.env`."""
    parts = ["# Settings with their defaults: copy to .env, and take the # off those that you change.\n"]
    for names, default, meaning in _settings():
        lines = textwrap.wrap(meaning, 100, initial_indent="# ", subsequent_indent="# ")
        parts.append("\n".join([*lines, f"#{names[0]}={default}\n"]))
    return "\n".join(parts)


PAGES = {
    "operations.md": operations_page,
    "errors.md": errors_page,
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "../.env.example": env_example,
}
"""What is written, by path from this folder."""


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


def _settings() -> Iterator[tuple[Sequence[str], str, str]]:
    """Names in the environment, default and meaning of each setting.

    The default is empty where the meaning tells what follows.
    """
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        names = [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]
        unset = field.default is None or field.default is PydanticUndefined
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        yield names, "" if unset else str(default), field.description or ""


def _page(title: str, introduction: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A page with one table."""
    table = [heads, ["---"] * len(heads), *rows]
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in table]
    return f"# {title}\n\n{NOTE}\n{introduction}\n" + "\n".join(lines) + "\n"


def _meanings() -> Iterator[tuple[str, str]]:
    """Name and meaning of each class in the tree that opens `facerec.errors`."""
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"[ │├└─]*([A-Z]\w+) {2,}(\S.*)", line)
        if found:
            yield found[1], found[2]


if __name__ == "__main__":
    main()
