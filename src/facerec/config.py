"""Settings, read once from the environment (and a `.env` file) and handed down by `bootstrap`.

Nothing else in the package reads the environment. `docs/settings.md` is generated from this file.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from facerec.access import AwsCredentials, RateLimit, Scope, parse_rate
from facerec.domain import FOREVER, LivenessPolicy, Review, similarity_of
from facerec.errors import ConfigurationError

MEBIBYTE = 1024 * 1024

THREADS_PER_PROCESSOR = 8
"""Requests, or jobs, at work at once for each processor: most wait for their images and for the disk while
others are looked at. The engine itself has FACEREC_THREADS at work, and those that wait for the disk share
their commits."""


def _cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


SnapshotPolicy = Literal["auto", "always", "never"]
"""Which collections' indexes are kept on disk: up to 256 dimensions, all, or none."""

VectorStoreName = Literal["embedded", "pgvector", "qdrant", "pinecone"]
"""Where the vectors are searched."""


MetricsAccess = Literal["loopback", "key", "open", "off"]
"""Who may read /metrics, and the details of /health."""

LogFormat = Literal["text", "json"]
"""How the lines of the log are written."""

AuditPolicy = Literal["on", "changes", "off"]
"""What is written to the audit log: changes and searches, changes alone, or nothing."""

UserMatching = Literal["average", "best"]
"""What stands for a user in searches: the mean of its faces' embeddings, or the best of them."""

_DURATION = re.compile(r"(\d{1,9})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> int:
    """Seconds of a duration, 1 or more: 90s, 15m, 12h, 30d, 8w; or forever (FOREVER). Raises ValueError."""
    if text.strip().lower() == "forever":
        return FOREVER
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text[:40]!r} is no duration: it has to be like 90s, 15m, 12h, 30d, 8w or forever")
    return int(found[1]) * _SECONDS[found[2]]


def duration_text(seconds: int) -> str:
    """A duration as `parse_duration` reads it, in the largest unit that it is a multiple of."""
    if seconds >= FOREVER:
        return "forever"
    unit = next(unit for unit in "wdhms" if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def _json_list(value: object, advice: str) -> object:
    """The list that a text of the environment is; anything but a text as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        found: object = json.loads(value)
    except ValueError:
        found = None
    if isinstance(found, list):
        return found
    raise ValueError(advice)


class Settings(BaseSettings):
    """Every setting of the service. The field's description is its documentation."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    data_dir: Path = Field(
        Path("data"), validation_alias="FACEREC_DATA_DIR", description="Folder of database, index and packs."
    )
    disk_reserve_mib: int = Field(
        256,
        ge=0,
        validation_alias="FACEREC_DISK_RESERVE_MIB",
        description="Free space, in MiB, of FACEREC_DATA_DIR's disk below which /health calls the disk full, "
        "while there is still room for what deletes. 0: never.",
    )
    host: str = Field("127.0.0.1", validation_alias="FACEREC_HOST", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, validation_alias="FACEREC_PORT", description="Port to listen on.")
    tls_cert: Path | None = Field(
        None,
        validation_alias="FACEREC_TLS_CERT",
        description="PEM file of the certificate that the service shows, with those between it and its "
        "authority: it answers by HTTPS alone then. Read anew when it changes. Default: plain HTTP.",
    )
    tls_key: Path | None = Field(
        None,
        validation_alias="FACEREC_TLS_KEY",
        description="PEM file of the key of FACEREC_TLS_CERT, without a password.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        validation_alias="LOG_LEVEL",
        description="Least severity that is logged of the service itself; of libraries, warnings and errors.",
    )
    log_format: LogFormat = Field(
        "text",
        validation_alias="LOG_FORMAT",
        description="Lines of the log: text, or json, an object on each line (docs/monitoring.md).",
    )

    otel_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Collector of traces, as http://HOST:4318 (OTLP over HTTP; `pip install "
        "'facerec[otel]'`); default: none are made. OpenTelemetry's own OTEL_EXPORTER_OTLP_HEADERS "
        "and OTEL_TRACES_SAMPLER hold too.",
    )
    metrics_access: MetricsAccess = Field(
        "loopback",
        validation_alias="FACEREC_METRICS_ACCESS",
        description="Who may read /metrics and the details of /health: loopback (this machine without a key, "
        "all others with one; in staging and production everybody with one), key, open (everybody who "
        "reaches the address) or off (/metrics is not there).",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        validation_alias="FACEREC_METRICS_HOST",
        description="Address on which `facerec worker` tells its metrics; no key is asked for there.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        validation_alias="FACEREC_METRICS_PORT",
        description="Port on which `facerec worker` tells its metrics; default: it tells none.",
    )
    drain_seconds: float = Field(
        0,
        ge=0,
        le=3600,
        validation_alias="FACEREC_DRAIN_SECONDS",
        description="How long `facerec serve`, told to stop, goes on to take requests while /health/ready "
        "answers 503, so that load balancers look away first.",
    )

    environment: Literal["development", "test", "staging", "production"] = Field(
        "development",
        validation_alias="ENVIRONMENT",
        description="What the service is for. In staging and production every request needs a key, also on "
        "the loopback address, where a proxy may bring anybody's requests.",
    )

    # --- the database
    database_url: str | None = Field(
        None,
        repr=False,  # it may hold a password
        validation_alias="DATABASE_URL",
        description="PostgreSQL database, as postgresql://USER:PASSWORD@HOST:PORT/NAME (`pip install "
        "'facerec[postgres]'`); default: SQLite in the data folder.",
    )
    postgres_host: str | None = Field(
        None,
        validation_alias="POSTGRES_HOST",
        description="Host of the PostgreSQL database, in place of DATABASE_URL, with the POSTGRES_ settings "
        "below.",
    )
    postgres_port: int = Field(
        5432, ge=1, le=65535, validation_alias="POSTGRES_PORT", description="Its port."
    )
    postgres_user: str = Field("postgres", validation_alias="POSTGRES_USER", description="Who logs in.")
    postgres_password: SecretStr | None = Field(
        None, validation_alias="POSTGRES_PASSWORD", description="The password, if there is one."
    )
    postgres_db: str = Field("facerec", validation_alias="POSTGRES_DB", description="Name of the database.")
    database_pool: int = Field(
        20,
        ge=2,
        validation_alias="FACEREC_DATABASE_POOL",
        description="Most connections to PostgreSQL open at once, of one process.",
    )
    database_pooling: Literal["session", "transaction"] = Field(
        "session",
        validation_alias="FACEREC_DATABASE_POOLING",
        description="transaction: DATABASE_URL is of a PgBouncer whose pool_mode is that, or of its like: no "
        "statement is prepared, and nothing is set for longer than a transaction (docs/postgresql.md).",
    )

    redis_url: str | None = Field(
        None,
        repr=False,  # it may hold a password
        validation_alias="REDIS_URL",
        description="Redis for what is remembered for minutes (registration sessions, rate limits, results), "
        "as redis://USER:PASSWORD@HOST:6379/0 (`pip install 'facerec[redis]'`); default: the database.",
    )

    workers: int = Field(
        1,
        ge=1,
        le=64,
        validation_alias="FACEREC_WORKERS",
        description="Processes that `facerec serve` answers with. They share one address, and split among "
        "them what is of the whole service: FACEREC_THREADS, FACEREC_MAX_QUEUE, FACEREC_MAX_DECODED_BYTES "
        "and FACEREC_RESULT_CACHE_MIB (docs/running.md).",
    )

    # --- the engine
    model_path: str = Field(
        "dlib",
        validation_alias="MODEL_PATH",
        description="Model pack: a name of `facerec packs list`, or a folder.",
    )
    extra_packs: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="FACEREC_EXTRA_PACKS",
        description="More packs, as a JSON list of names or folders, for collections that were made with "
        "them; each is loaded when such a collection is asked for.",
    )
    runtime: Literal["openvino", "onnxruntime", "cuda", "tensorrt", "auto"] = Field(
        "auto",
        validation_alias="FACEREC_RUNTIME",
        description="What runs the networks: openvino or onnxruntime on the processor, cuda or tensorrt on "
        "an NVIDIA card (`pip install 'facerec[gpu]'`); auto: cuda where that package finds a card, else "
        "OpenVINO where it is installed, else ONNX Runtime.",
    )
    precision: Literal["auto", "f32", "bf16", "int8"] = Field(
        "auto",
        validation_alias="FACEREC_PRECISION",
        description="Arithmetic of the networks. auto: int8 where their activation ranges are known "
        "(`facerec packs quantize`) and a trial at start shows it faster; else bf16 where the processor "
        "has it, else f32.",
    )
    threads: int = Field(
        default_factory=_cores,
        ge=1,
        validation_alias="FACEREC_THREADS",
        description="Processors for decoding and inference together (default: all that the process may use).",
    )
    detection_sizes: Annotated[tuple[int, ...] | None, NoDecode] = Field(
        None,
        validation_alias="FACEREC_DETECTION_SIZES",
        description="Longer sides, in pixels, at which the detector looks, as a JSON list ([640, 160]); "
        "default: the pack's own.",
    )
    min_face_confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        validation_alias="MIN_FACE_CONFIDENCE",
        description="Confidence (0 to 1) under which a detection is no face, on the detector's own scale: "
        "SCRFD gives clear faces 0.7 to 0.9; default: the pack's own.",
    )
    max_faces_per_image: int = Field(
        100,
        ge=1,
        le=100,
        validation_alias="MAX_FACES_PER_IMAGE",
        description="Most faces looked at in an image.",
    )
    max_batch: int = Field(
        16,
        ge=1,
        validation_alias="FACEREC_MAX_BATCH",
        description="Most faces embedded in one run of the network, on graphics cards: on processors each "
        "request's faces run alone.",
    )
    max_queue: int = Field(
        256,
        ge=1,
        validation_alias="FACEREC_MAX_QUEUE",
        description="Requests at work or waiting; one more is refused (ProvisionedThroughputExceeded).",
    )
    result_cache_mib: int = Field(
        0,
        ge=0,
        validation_alias="FACEREC_RESULT_CACHE_MIB",
        description="Memory, in MiB, for the faces and embeddings of images that may be sent again; images "
        "are never kept, and what is kept ends with the process, or, with REDIS_URL, in Redis after "
        "FACEREC_RESULT_CACHE_SECONDS. 0: none. /health counts the hits.",
    )
    result_cache_seconds: float = Field(
        900,
        gt=0,
        validation_alias="FACEREC_RESULT_CACHE_SECONDS",
        description="Longest time for which results of an image are kept there: also how long a deletion by "
        "another process may go unnoticed by them.",
    )

    # --- the index
    vector_store: VectorStoreName = Field(
        "embedded",
        validation_alias="VECTOR_STORE",
        description="Where faces are searched: embedded (in this process's memory), pgvector (in the "
        "PostgreSQL of DATABASE_URL), qdrant or pinecone. Each is derived from the database and built again "
        "when it is lost (docs/stores.md).",
    )
    vector_store_seconds: float = Field(
        10,
        gt=0,
        validation_alias="FACEREC_VECTOR_STORE_SECONDS",
        description="Longest time that a search waits for Qdrant or Pinecone, its retries included; then the "
        "client is asked to try again.",
    )
    qdrant_url: str | None = Field(
        None,
        validation_alias="QDRANT_URL",
        description="Address of Qdrant, http://HOST:6333 or of Qdrant Cloud; asked with VECTOR_STORE=qdrant.",
    )
    qdrant_api_key: str | None = Field(
        None, repr=False, validation_alias="QDRANT_API_KEY", description="API key of Qdrant, if it wants one."
    )
    qdrant_collection_name: str = Field(
        "facerec",
        pattern=r"^[A-Za-z0-9_-]{1,200}$",
        validation_alias="QDRANT_COLLECTION_NAME",
        description="Name that Qdrant's collections begin with: there is one for each length of embeddings.",
    )
    qdrant_path: str | None = Field(
        None,
        validation_alias="QDRANT_PATH",
        description="Folder of Qdrant's local mode (or :memory:), in place of QDRANT_URL: exact and slow, "
        "in one process, for trials of a few thousand faces.",
    )
    qdrant_hnsw_m: int = Field(
        16,
        ge=4,
        le=128,
        validation_alias="FACEREC_QDRANT_HNSW_M",
        description="Links a vector has in Qdrant's graph; read when a collection is made there.",
    )
    qdrant_hnsw_ef_construct: int = Field(
        200,
        ge=4,
        le=4096,
        validation_alias="FACEREC_QDRANT_HNSW_EF_CONSTRUCT",
        description="Neighbours Qdrant looks at when it links a vector; read when a collection is made.",
    )
    qdrant_hnsw_ef: int = Field(
        256,
        ge=4,
        le=10_000,
        validation_alias="FACEREC_QDRANT_HNSW_EF",
        description="Candidates Qdrant follows in a search, at least: more find more and take longer.",
    )
    qdrant_quantization: bool = Field(
        True,
        validation_alias="FACEREC_QDRANT_QUANTIZATION",
        description="Whether Qdrant keeps int8 codes in memory and the vectors on disk, and rescores what "
        "the codes find; read when a collection is made there.",
    )
    pinecone_api_key: str | None = Field(
        None,
        repr=False,
        validation_alias="PINECONE_API_KEY",
        description="API key of Pinecone; asked with VECTOR_STORE=pinecone.",
    )
    pinecone_index_name: str = Field(
        "facerec",
        pattern=r"^[a-z0-9-]{1,40}$",
        validation_alias="PINECONE_INDEX_NAME",
        description="Name that Pinecone's indexes begin with: there is one for each length of embeddings.",
    )
    pinecone_environment: str = Field(
        "aws-us-east-1",
        pattern=r"^(aws|gcp|azure)-[a-z0-9-]+$",
        validation_alias="PINECONE_ENVIRONMENT",
        description="Cloud and region in which a missing index is made, serverless: aws-us-east-1, "
        "gcp-us-central1, azure-eastus2. gcp-starter, which Pinecone has ended, is read as aws-us-east-1.",
    )
    pinecone_host: str | None = Field(
        None,
        validation_alias="PINECONE_CONTROLLER_HOST",
        description="Address of Pinecone's API, in place of its own (a proxy, an emulator).",
    )
    index_snapshot: SnapshotPolicy = Field(
        "auto",
        validation_alias="FACEREC_INDEX_SNAPSHOT",
        description="Whether a collection's index is kept on disk beside the database, so that a start maps "
        "it instead of reading the collection (4 to 5 seconds of processor time a million faces of 512 "
        "dimensions): always (at 512 dimensions a face takes 588 bytes there, and 720 in the database), "
        "never, or auto: up to 256 dimensions, where a face stays under 1 KB in all.",
    )

    # --- retention
    face_ttl: str | None = Field(
        None,
        validation_alias="FACEREC_FACE_TTL",
        description="How long faces are kept in collections that say nothing of it, as 90s, 15m, 12h, 30d or "
        "8w; default: until they are deleted. See docs/retention.md.",
    )
    sweep_seconds: float = Field(
        60,
        ge=0,
        validation_alias="FACEREC_SWEEP_SECONDS",
        description="Pause between two sweeps of `facerec serve`, which remove faces past their time and "
        "what is left over; 0: none (`facerec expire` and `facerec clean` do it then).",
    )
    user_matching: UserMatching = Field(
        "average",
        validation_alias="FACEREC_USER_MATCHING",
        description="What stands for a user in searches: average, the mean of its faces' embeddings, or "
        "best, the best of its faces.",
    )

    # --- the registry of persons
    registry_collection: str = Field(
        "persons",
        pattern=r"^[a-zA-Z0-9_.\-]{1,255}$",
        validation_alias="FACEREC_REGISTRY_COLLECTION",
        description="Collection whose users are the persons of the registry; made at first use.",
    )
    enrolment_review: Review = Field(
        Review.STANDARD,
        validation_alias="FACEREC_ENROLMENT_REVIEW",
        description="How strictly pictures that persons are enrolled from are looked at: off (a face is "
        "enough), standard or strict (docs/people.md). A request may ask for another one.",
    )
    similarity_threshold: float | None = Field(
        None,
        ge=0,
        le=100,
        validation_alias="SIMILARITY_THRESHOLD",
        description="Least similarity at which a face is somebody of the registry, on Rekognition's scale of "
        "0 to 100; up to 1 as a share of it, 0.8 for 80. Default: so high that of 2000 strangers one is "
        "taken for somebody, however many are enrolled. Other searches and comparisons over REST that name "
        "no threshold take it too, and 80 without it.",
    )
    registry_margin: float = Field(
        0.03,
        ge=0,
        le=1,
        validation_alias="FACEREC_REGISTRY_MARGIN",
        description="Least lead, as a difference of cosines, that the most similar person has over the next "
        "one: with less the answer is unknown.",
    )
    liveness: LivenessPolicy = Field(
        LivenessPolicy.OFF,
        validation_alias="FACEREC_LIVENESS",
        description="Whether the registry looks for prints and screens where a face should be: off, report "
        "(a score in the answer, where the model pack has liveness networks), require (faces below the "
        "threshold are refused, which takes such a pack) or active: a request needs a liveness session that "
        "has succeeded (docs/liveness.md).",
    )
    liveness_threshold: float = Field(
        50.0,
        ge=0,
        le=100,
        validation_alias="FACEREC_LIVENESS_THRESHOLD",
        description="Least score of a face that is taken for live, and least confidence of a liveness "
        "session.",
    )
    liveness_steps: int = Field(
        4,
        ge=2,
        le=8,
        validation_alias="FACEREC_LIVENESS_STEPS",
        description="Movements that a session of active liveness asks for: of those who play a film, each "
        "more lets a quarter through.",
    )
    liveness_buckets: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="FACEREC_LIVENESS_BUCKETS",
        description="Buckets of S3 into which pictures of liveness sessions may be put with the service's "
        "own credentials (OutputConfig), as a JSON list. Default: none.",
    )
    max_images_per_registration: int = Field(
        10,
        ge=1,
        le=100,
        validation_alias="MAX_IMAGES_PER_REGISTRATION",
        description="Most images of a registration, of an update, or of a registration session.",
    )
    registration_seconds: int = Field(
        1200,
        ge=60,
        le=86_400,
        validation_alias="FACEREC_REGISTRATION_SECONDS",
        description="How long a registration session stays open after its last frame.",
    )

    # --- embeddings at rest
    embedding_key_file: Path | None = Field(
        None,
        validation_alias="FACEREC_EMBEDDING_KEY_FILE",
        description="File of the keys that seal embeddings in the database (AES-256-GCM), a line each, 32 "
        "bytes in base64: the first one seals, all open. docs/encryption.md tells how to begin, and to "
        "change keys.",
    )
    embedding_key: SecretStr | None = Field(
        None,
        validation_alias="FACEREC_EMBEDDING_KEY",
        description="The same keys themselves, with commas between, in place of a file.",
    )

    # --- model packs
    packs_dir: Path | None = Field(
        None,
        validation_alias="FACEREC_PACKS_DIR",
        description="Folder of pulled packs; default: packs in the data folder.",
    )
    compiled_dir: Path | None = Field(
        None,
        validation_alias="FACEREC_COMPILED_DIR",
        description="Folder where networks are kept as they were compiled for this machine, so that the next "
        "process opens them in a fraction of the time; what is missing there is made anew. Default: compiled "
        "in the data folder.",
    )
    pack_mirror: str | None = Field(
        None,
        validation_alias="FACEREC_PACK_MIRROR",
        description="Address or folder that holds the pack archives by file name, asked instead of upstream.",
    )

    # --- images
    max_image_bytes: int = Field(
        5 * MEBIBYTE,
        ge=1,
        validation_alias="FACEREC_MAX_IMAGE_BYTES",
        description="Most bytes of an image sent in a request.",
    )
    max_s3_image_bytes: int = Field(
        15 * MEBIBYTE,
        ge=1,
        validation_alias="FACEREC_MAX_S3_IMAGE_BYTES",
        description="Most bytes of an image in S3.",
    )
    max_image_pixels: int = Field(
        100_000_000,
        ge=1,
        validation_alias="MAX_IMAGE_PIXELS",
        description="Most pixels of an image, as a number or as 1920x1080; checked before decoding.",
    )
    max_decoded_bytes: int | None = Field(
        None,
        ge=1,
        validation_alias="FACEREC_MAX_DECODED_BYTES",
        description="Most bytes of decoded pictures at work together (3 a pixel); requests with more wait, "
        "one alone is always let in; default: 128 MiB for each of FACEREC_THREADS.",
    )
    max_body_bytes: int = Field(
        16 * MEBIBYTE,
        ge=1,
        validation_alias="FACEREC_MAX_BODY_BYTES",
        description="Most bytes of a request's body.",
    )
    body_timeout_seconds: float = Field(
        60,
        gt=0,
        validation_alias="FACEREC_BODY_TIMEOUT_SECONDS",
        description="Longest time in which the body of a request has to arrive.",
    )
    request_seconds: float = Field(
        45,
        gt=0,
        validation_alias="FACEREC_REQUEST_SECONDS",
        description="How long after its body a request may wait: work that has not begun by then is left "
        "undone, and the client asked to try again. AWS clients give up after 60 seconds by themselves.",
    )
    url_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="FACEREC_URL_ALLOWED_HOSTS",
        description="Hosts that images are fetched from by web address, as a JSON list: names, "
        "*.example.com for all below it, * for all; with :port that port. Default: none.",
    )
    url_allow_private: bool = Field(
        False,
        validation_alias="FACEREC_URL_ALLOW_PRIVATE",
        description="Whether allowed hosts may be in private networks or on this machine.",
    )
    url_seconds: float = Field(
        20,
        gt=0,
        validation_alias="FACEREC_URL_SECONDS",
        description="Longest time to fetch an image by web address, redirects included.",
    )
    max_url_image_bytes: int = Field(
        15 * MEBIBYTE,
        ge=1,
        validation_alias="FACEREC_MAX_URL_IMAGE_BYTES",
        description="Most bytes of an image behind a web address.",
    )
    s3_bucket: str | None = Field(
        None,
        min_length=3,
        max_length=63,
        validation_alias="AWS_S3_BUCKET",
        description="Bucket of images that are named by their key alone (/api/v1/face-recognition).",
    )
    s3_region: str | None = Field(
        None,
        validation_alias="AWS_S3_BUCKET_REGION",
        description="Region of S3, where it is another one than AWS_REGION.",
    )
    s3_endpoint_url: str | None = Field(
        None,
        validation_alias=AliasChoices("FACEREC_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
        description="S3 endpoint for Image.S3Object (MinIO, moto); default: AWS.",
    )

    # --- jobs
    serve_jobs: bool = Field(
        True,
        validation_alias="FACEREC_SERVE_JOBS",
        description="Whether `facerec serve` does jobs (albums, imports, S3 events) beside the requests, "
        "FACEREC_THREADS at a time; without it `facerec worker` does them alone.",
    )
    worker_processes: int = Field(
        1,
        ge=1,
        le=64,
        validation_alias="FACEREC_WORKER_PROCESSES",
        description="Processes of `facerec worker`. They split among them what FACEREC_WORKERS splits.",
    )
    job_threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        validation_alias="FACEREC_JOB_THREADS",
        description="Jobs at work at once in a process of `facerec worker`; default: eight for each of "
        "FACEREC_THREADS, most of which wait for their images or for the disk.",
    )
    worker_nice: int = Field(
        10,
        ge=0,
        le=19,
        validation_alias="FACEREC_WORKER_NICE",
        description="How far `facerec worker` steps back for other processes of its machine, such as the "
        "service (`man 7 sched`); 0: not at all.",
    )
    job_attempts: int = Field(
        5,
        ge=5,
        le=100,
        validation_alias="FACEREC_JOB_ATTEMPTS",
        description="Times that a job is tried before it is set aside with its reason; images of albums and "
        "videos have failed after four of them.",
    )
    job_lease_seconds: float = Field(
        30,
        ge=3,
        le=3600,
        validation_alias="FACEREC_JOB_LEASE_SECONDS",
        description="How long the jobs of a worker that was killed are held up: leases are prolonged three "
        "times as often.",
    )
    sqs_queue_name: str | None = Field(
        None,
        validation_alias="SQS_QUEUE_NAME",
        description="Queue in SQS for jobs, made with NAME-backlog and NAME-dead beside it where missing "
        "(docs/jobs.md); default: the database.",
    )
    sqs_endpoint_url: str | None = Field(
        None,
        validation_alias=AliasChoices("FACEREC_SQS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"),
        description="SQS endpoint (an emulator, a private one); default: AWS.",
    )
    sqs_wait_seconds: int = Field(
        1,
        ge=0,
        le=20,
        validation_alias="FACEREC_SQS_WAIT_SECONDS",
        description="How long SQS holds a question for jobs while it has none (long polling).",
    )
    s3_events_collection: str | None = Field(
        None,
        validation_alias="FACEREC_S3_EVENTS_COLLECTION",
        description="Collection into which images are indexed that S3 tells of in the queue: a name, or "
        "rules with commas between, prefix=name, of which the longest prefix of the key counts "
        "(staff/=employees,=guests). Default: such events are set aside.",
    )
    job_batch: int = Field(
        10,
        ge=1,
        le=10,
        validation_alias=AliasChoices("SQS_BATCH_SIZE", "FACEREC_JOB_BATCH"),
        description="Most jobs that a worker leases at once.",
    )

    ray_actor_cpus: int = Field(
        2,
        ge=1,
        validation_alias="FACEREC_RAY_ACTOR_CPUS",
        description="Processors of each actor of `facerec worker --ray`, which holds the models once; there "
        "are as many actors as the cluster has processors for.",
    )
    spot_notice: str = Field(
        "auto",
        pattern=r"^(auto|off|https?://.+)$",
        validation_alias="FACEREC_SPOT_NOTICE",
        description="Whether `facerec worker` looks for the notice that a spot instance of EC2 is about to "
        "be taken away, and ends gracefully: auto (on EC2), off, or the address of the instance metadata "
        "service.",
    )

    # --- videos
    max_video_bytes: int = Field(
        2048 * MEBIBYTE,
        ge=1,
        validation_alias="FACEREC_MAX_VIDEO_BYTES",
        description="Most bytes of a video.",
    )
    max_video_seconds: float = Field(
        6 * 3600,
        gt=0,
        validation_alias="FACEREC_MAX_VIDEO_SECONDS",
        description="Longest video, in seconds of it.",
    )
    max_video_pixels: int = Field(
        4096 * 2304,
        ge=1,
        validation_alias="FACEREC_MAX_VIDEO_PIXELS",
        description="Most pixels of a video's frame; checked before decoding.",
    )
    video_fps: float = Field(
        5,
        gt=0,
        le=60,
        validation_alias="FACEREC_VIDEO_FPS",
        description="Frames of a video that are looked at, for each second of it; where nobody is to be "
        "seen and nothing moves, fewer are.",
    )
    video_timeout_seconds: float = Field(
        4 * 3600,
        gt=0,
        validation_alias="FACEREC_VIDEO_TIMEOUT_SECONDS",
        description="Longest time that one attempt at a video may take.",
    )
    max_video_jobs: int = Field(
        20,
        ge=1,
        validation_alias="FACEREC_MAX_VIDEO_JOBS",
        description="Most videos waiting or at work; one more is refused (LimitExceeded).",
    )
    video_results_ttl: str = Field(
        "7d",
        validation_alias="FACEREC_VIDEO_RESULTS_TTL",
        description="How long the results of a video are kept, as 12h, 7d or forever.",
    )
    sns_endpoint_url: str | None = Field(
        None,
        validation_alias=AliasChoices("FACEREC_SNS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SNS"),
        description="SNS endpoint for a video's NotificationChannel; default: AWS.",
    )
    webhook_url: str | None = Field(
        None,
        pattern=r"^https?://",
        validation_alias="FACEREC_WEBHOOK_URL",
        description="Address that is told of every video that has ended and every album that is done, by a "
        "POST; default: none.",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        validation_alias="FACEREC_WEBHOOK_SECRET",
        description="Key of the signature (HMAC-SHA256) that each POST to FACEREC_WEBHOOK_URL carries.",
    )

    # --- the AWS door
    aws_region: str = Field(
        "us-east-1", validation_alias="AWS_REGION", description="Region in ARNs, and of S3, SQS and SNS."
    )
    aws_access_key_id: str | None = Field(
        None,
        validation_alias="AWS_ACCESS_KEY_ID",
        description="Access key with which the service itself asks S3, SQS and SNS; clients of the service "
        "use keys of `facerec keys`. Default: what boto3 finds (a profile, the role of the machine).",
    )
    aws_secret_access_key: SecretStr | None = Field(
        None, validation_alias="AWS_SECRET_ACCESS_KEY", description="Secret of AWS_ACCESS_KEY_ID."
    )
    aws_session_token: SecretStr | None = Field(
        None,
        validation_alias="AWS_SESSION_TOKEN",
        description="Token of AWS_ACCESS_KEY_ID, where it is a temporary one.",
    )
    account_id: str = Field(
        "000000000000",
        pattern=r"^\d{12}$",
        validation_alias="FACEREC_ACCOUNT_ID",
        description="Account number in ARNs.",
    )
    clock_skew_seconds: int = Field(
        300,
        ge=0,
        validation_alias="FACEREC_CLOCK_SKEW_SECONDS",
        description="Most age or lead of a signed request.",
    )
    api_key: SecretStr | None = Field(
        None,
        min_length=8,
        validation_alias="API_KEY",
        description="A key of the service beside those of `facerec keys`: REST clients send it in X-API-Key, "
        "AWS clients sign with it as the secret of the access key id API_KEY (docs/security.md). 8 "
        "characters or more; take 32 random ones.",
    )
    api_key_scope: Scope = Field(
        Scope.ADMIN,
        validation_alias="FACEREC_API_KEY_SCOPE",
        description="What API_KEY may do: read, write or admin.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        validation_alias="ALLOWED_ORIGINS",
        description="Web pages that browsers let call the service (CORS), as origins with commas between "
        "(https://gate.example.com,http://localhost:3000) or as a JSON list; * for all. Default: none.",
    )
    rate_limit: str | None = Field(
        None,
        validation_alias="FACEREC_RATE_LIMIT",
        description="Most requests of each key that has no limit of its own, and of each address while there "
        "are no keys: 10/s, 600/m, 5000/h; so many may come at once. Default: none.",
    )
    audit: AuditPolicy = Field(
        "on",
        validation_alias="FACEREC_AUDIT",
        description="What is written to the audit log: on (changes and searches), changes or off "
        "(docs/security.md).",
    )
    audit_days: int = Field(
        365,
        ge=0,
        validation_alias="FACEREC_AUDIT_DAYS",
        description="How long entries of the audit log are kept; 0: until `facerec audit prune`.",
    )
    master_key_file: Path | None = Field(
        None,
        validation_alias="FACEREC_MASTER_KEY_FILE",
        description="File of the key that seals secrets at rest; default: master.key in the data folder, "
        "made at first use.",
    )

    @field_validator("face_ttl", "video_results_ttl")
    @classmethod
    def _duration(cls, value: str | None) -> str | None:
        """Refuse what is no duration."""
        if value is not None:
            parse_duration(value)
        return value

    @field_validator("pinecone_environment", mode="before")
    @classmethod
    def _region_of_starters(cls, value: object) -> object:
        """Read the environment of Pinecone's former free indexes as the region where such are made now."""
        return "aws-us-east-1" if value == "gcp-starter" else value

    @field_validator("extra_packs", "detection_sizes", "liveness_buckets", "url_allowed_hosts", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        """Read a JSON list."""
        return _json_list(value, 'it has to be a JSON list, as [640, 160] or ["one", "another"]')

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _origins(cls, value: object) -> object:
        """Read a JSON list, or origins with commas between."""
        if isinstance(value, str) and not value.lstrip().startswith("["):
            return tuple(origin for each in value.split(",") if (origin := each.strip()))
        return _json_list(value, "it has to be a JSON list, or origins with commas between")

    @field_validator("similarity_threshold")
    @classmethod
    def _similarity(cls, value: float | None) -> float | None:
        return None if value is None else similarity_of(value)

    @field_validator("api_key")
    @classmethod
    def _not_the_example(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse the key of an example file, which everybody knows."""
        if value is not None and value.get_secret_value().startswith("change-me"):
            raise ValueError("this is the value of an example file: take 32 random characters")
        return value

    @field_validator("rate_limit")
    @classmethod
    def _rate(cls, value: str | None) -> str | None:
        """Refuse what is no rate."""
        if value is not None:
            parse_rate(value)
        return value

    @model_validator(mode="after")
    def _tls(self) -> Self:
        """Refuse one half of certificate and key."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("FACEREC_TLS_CERT and FACEREC_TLS_KEY go together")
        return self

    @model_validator(mode="after")
    def _aws_keys(self) -> Self:
        """Refuse one half of AWS credentials."""
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together")
        return self

    @property
    def aws_credentials(self) -> AwsCredentials:
        """With what the service itself asks AWS."""
        secret, token = self.aws_secret_access_key, self.aws_session_token
        if self.aws_access_key_id is None or secret is None:
            return AwsCredentials()
        return AwsCredentials(
            self.aws_access_key_id,
            secret.get_secret_value(),
            None if token is None else token.get_secret_value(),
        )

    @property
    def rate(self) -> RateLimit | None:
        """`rate_limit` as its numbers."""
        return None if self.rate_limit is None else parse_rate(self.rate_limit)

    @property
    def needs_keys(self) -> bool:
        """Whether nobody is let in without a key, even while there is none."""
        return self.environment in ("staging", "production")

    @property
    def face_ttl_seconds(self) -> int:
        """`face_ttl` in seconds, FOREVER without one."""
        return FOREVER if self.face_ttl is None else parse_duration(self.face_ttl)

    @property
    def video_results_seconds(self) -> int:
        """`video_results_ttl` in seconds."""
        return parse_duration(self.video_results_ttl)

    @property
    def videos_folder(self) -> Path:
        """Folder of videos that were uploaded and are not looked at yet."""
        return self.data_dir / "videos"

    @field_validator("max_image_pixels", mode="before")
    @classmethod
    def _pixels(cls, value: object) -> object:
        """Read 1920x1080 as a number of pixels."""
        if isinstance(value, str) and "x" in value.lower():
            width, _, height = value.lower().partition("x")
            if width.strip().isdigit() and height.strip().isdigit():
                return int(width) * int(height)
        return value

    def share(self, worker: int) -> Settings:
        """The settings of one of the `workers` processes (1 is the first): its part of what they split.

        Processors left over go to the first ones; each has one at least, and room for one request.
        """
        if not 1 <= worker <= self.workers:
            raise ValueError(f"worker {worker} of {self.workers}")
        whole, left_over = divmod(self.threads, self.workers)
        return self.model_copy(
            update={
                "threads": max(whole + (worker <= left_over), 1),
                "max_queue": max(self.max_queue // self.workers, 1),
                "max_decoded_bytes": max(self.decoded_bytes // self.workers, 1),
                "result_cache_mib": -(-self.result_cache_mib // self.workers),
            }
        )

    @property
    def jobs_at_once(self) -> int:
        """Jobs at work at once in a process that does nothing else."""
        return self.job_threads or self.threads * THREADS_PER_PROCESSOR

    @property
    def decoded_bytes(self) -> int:
        """Most bytes of the decoded pictures at work together."""
        return self.max_decoded_bytes or 128 * MEBIBYTE * self.threads

    @property
    def packs_folder(self) -> Path:
        """Folder that pulled packs live in."""
        return self.packs_dir or self.data_dir / "packs"

    @property
    def compiled_folder(self) -> Path:
        """Folder that compiled networks are kept in."""
        return self.compiled_dir or self.data_dir / "compiled"

    @property
    def master_key_path(self) -> Path:
        """File of the key that seals secrets at rest."""
        return self.master_key_file or self.data_dir / "master.key"


def read_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` (field names) win over the environment.

    Raises ConfigurationError that names each wrong setting and what it accepts.
    """
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [": ".join([*map(str, e["loc"]), e["msg"]]) for e in error.errors()]
        raise ConfigurationError("; ".join(lines)) from error
    if settings.database_url is None and settings.postgres_host is not None:
        return settings.model_copy(update={"database_url": _postgres_url(settings, settings.postgres_host)})
    return settings


def _postgres_url(settings: Settings, host: str) -> str:
    """DATABASE_URL as the POSTGRES_ settings say it."""
    login = quote(settings.postgres_user, safe="")
    if settings.postgres_password is not None:
        login += f":{quote(settings.postgres_password.get_secret_value(), safe='')}"
    host = f"[{host}]" if ":" in host else host
    return f"postgresql://{login}@{host}:{settings.postgres_port}/{quote(settings.postgres_db, safe='')}"
