"""The tables. Rows are compact: a face of 512 dimensions has to cost less than 1 KB, indexes included.

Conventions: `key` is a surrogate that is never used twice; a UUID is its 16 bytes; a time is seconds since
the epoch; `number` is a place in the change sequence of the row's collection.
"""

from __future__ import annotations

import sqlalchemy as sa

from facerec.db.sealed import SealedBytes

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers INTEGER keys alone (they have 64 bits there); PostgreSQL has to be asked for 64 bits.
_Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _name(length: int) -> sa.String:
    """Text that is looked up or listed: in the order of its bytes, as SQLite has it anyway, whatever
    PostgreSQL was set up for. The order of a language changes with the system's libraries."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", _name(64), primary_key=True),
    sa.Column("value", sa.String(255), nullable=False),
)

collections = sa.Table(
    "collections",
    metadata,
    sa.Column("key", _Key, primary_key=True),
    # NULL: deleted, and its rows are being removed in small transactions.
    sa.Column("name", _name(255), unique=True),
    sa.Column("pack", sa.String(255), nullable=False),
    sa.Column("contract_id", sa.String(255), nullable=False),
    sa.Column("model_version", sa.String(64), nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("face_count", sa.BigInteger, nullable=False),
    sa.Column("user_count", sa.BigInteger, nullable=False),
    sa.Column("change_number", sa.BigInteger, nullable=False),
    # The collection with the same faces in another model's embeddings: deletions reach it too.
    sa.Column("twin_key", _Key),
    # Seconds that a face without an end of its own is kept; NULL: the service's default.
    sa.Column("face_ttl", sa.BigInteger),
    # Removals up to this number are remembered no longer: an index built to less is built anew.
    sa.Column("pruned_to", sa.BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("key", _Key, primary_key=True),
    sa.Column("collection_key", _Key, sa.ForeignKey("collections.key"), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("user_id", _name(128), nullable=False),
    sa.Column("face_count", sa.Integer, nullable=False),
    # The aggregate of the user's faces; NULL while there are none.
    sa.Column("scale", sa.Double),
    sa.Column("codes", SealedBytes),
    # What an application keeps with the person, as a JSON object; NULL: nothing.
    sa.Column("metadata", sa.Text),
    # NULL: made before these were kept. Every change of faces or metadata raises the version.
    sa.Column("created_at", sa.Double),
    sa.Column("updated_at", sa.Double),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="1"),
    sa.UniqueConstraint("collection_key", "user_id"),
    sa.Index(None, "collection_key", "number"),
    sqlite_autoincrement=True,
)

faces = sa.Table(
    "faces",
    metadata,
    sa.Column("key", _Key, primary_key=True),
    sa.Column("collection_key", _Key, sa.ForeignKey("collections.key"), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("face_id", sa.LargeBinary(16), nullable=False),
    sa.Column("image_id", sa.LargeBinary(16), nullable=False),
    sa.Column("external_image_id", sa.String(255)),
    # Left, top, width, height as four little-endian float32: half the room of four REAL columns.
    sa.Column("box", sa.LargeBinary(16), nullable=False),
    sa.Column("confidence", sa.Double, nullable=False),
    sa.Column("user_key", _Key, sa.ForeignKey("users.key")),
    sa.Column("scale", sa.Double, nullable=False),
    sa.Column("codes", SealedBytes, nullable=False),
    # How good the picture was that a person was enrolled from, 0 to 100; NULL: it was not judged.
    sa.Column("quality", sa.SmallInteger),
    # Where the image lies that the face was found in (s3://bucket/key), if the request named it.
    sa.Column("source", sa.String(255)),
    # Whole seconds since the epoch. The end is the face's own where there is one, else the collection's time
    # to live after stored_at: each face stands in one of the two indexes below.
    sa.Column("stored_at", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("expires_at", sa.BigInteger),
    sa.UniqueConstraint("collection_key", "face_id"),
    sa.Index(None, "collection_key", "number"),
    sa.Index(None, "collection_key", "image_id"),
    sa.Index(
        "ix_faces_collection_key_stored_at",
        "collection_key",
        "stored_at",
        sqlite_where=sa.text("expires_at IS NULL"),
        postgresql_where=sa.text("expires_at IS NULL"),
    ),
    sa.Index(
        "ix_faces_collection_key_expires_at",
        "collection_key",
        "expires_at",
        sqlite_where=sa.text("expires_at IS NOT NULL"),
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_faces_user_key",
        "user_key",
        sqlite_where=sa.text("user_key IS NOT NULL"),
        postgresql_where=sa.text("user_key IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

deletions = sa.Table(
    "deletions",
    metadata,
    sa.Column("collection_key", _Key, sa.ForeignKey("collections.key"), primary_key=True),
    # 0: a face's vector was removed, 1: a user's.
    sa.Column("kind", sa.SmallInteger, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("row_key", _Key, nullable=False),
    sqlite_with_rowid=False,
)

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("collection_key", _Key, sa.ForeignKey("collections.key"), primary_key=True),
    sa.Column("name", _name(128), primary_key=True),
    sa.Column("value", sa.String(256), nullable=False),
)

client_tokens = sa.Table(
    "client_tokens",
    metadata,
    sa.Column("operation", _name(64), primary_key=True),
    sa.Column("token", _name(64), primary_key=True),
    sa.Column("parameters", sa.LargeBinary(32), nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index(None, "created_at"),
)

access_keys = sa.Table(
    "access_keys",
    metadata,
    sa.Column("access_key_id", _name(128), primary_key=True),
    sa.Column("label", sa.String(255), nullable=False),
    sa.Column("sealed_secret", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("revoked_at", sa.Double),
    sa.Column("kind", sa.String(8), nullable=False, server_default="aws"),
    sa.Column("scope", sa.String(8), nullable=False, server_default="admin"),
    # Names, or beginnings with * after them, one a line; empty: all.
    sa.Column("collections", sa.Text, nullable=False, server_default=""),
    # As 10/s; NULL: the service's own.
    sa.Column("rate", sa.String(16)),
    sa.Column("expires_at", sa.Double),
    # The secret from before the last rotation, and how long it is taken.
    sa.Column("previous_secret", sa.LargeBinary),
    sa.Column("previous_until", sa.Double),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", _name(128), primary_key=True),
    sa.Column("holder", sa.String(128), nullable=False),
    # By the database's clock, so that machines whose clocks differ agree.
    sa.Column("deadline", sa.Double, nullable=False),
)

# What is remembered for minutes; `facerec.sessions` writes it.
session_entries = sa.Table(
    "session_entries",
    metadata,
    sa.Column("kind", _name(64), primary_key=True),
    sa.Column("key", _name(255), primary_key=True),
    # Another one with each change.
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("value", SealedBytes, nullable=False),
    # By the database's clock.
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Index(None, "expires_at"),
)

model_migrations = sa.Table(
    "model_migrations",
    metadata,
    sa.Column("new_key", _Key, sa.ForeignKey("collections.key"), primary_key=True, autoincrement=False),
    # No foreign key: the old collection may be gone once the migration is finished.
    sa.Column("old_key", _Key, nullable=False),
    # As in MODEL_PATH: names or folders of packs.
    sa.Column("old_pack", sa.Text, nullable=False),
    sa.Column("new_pack", sa.Text, nullable=False),
    sa.Column("images", sa.Text, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    # Share of searches, 0 to 1, that the new model answers; what both models answered to them, as counts.
    sa.Column("share", sa.Double, nullable=False),
    sa.Column("same_best", sa.BigInteger, nullable=False),
    sa.Column("other_best", sa.BigInteger, nullable=False),
    sa.Column("old_alone", sa.BigInteger, nullable=False),
    sa.Column("new_alone", sa.BigInteger, nullable=False),
    sa.Column("neither", sa.BigInteger, nullable=False),
    # Sums over those with the same best: the new model's similarity less the old one's, and its size.
    sa.Column("difference", sa.Double, nullable=False),
    sa.Column("distance", sa.Double, nullable=False),
)

migration_failures = sa.Table(
    "migration_failures",
    metadata,
    sa.Column("new_key", _Key, sa.ForeignKey("model_migrations.new_key"), primary_key=True),
    sa.Column("face_key", _Key, primary_key=True, autoincrement=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sqlite_with_rowid=False,
)

index_scopes = sa.Table(
    "index_scopes",
    metadata,
    sa.Column("token", sa.String(32), primary_key=True),
    # Which store, and where in it: vector stores outside the database keep several at once.
    sa.Column("store", sa.String(255), nullable=False),
    # No foreign key: a scope is removed from its store after its collection is gone.
    sa.Column("collection_key", _Key, nullable=False),
    sa.Column("kind", sa.SmallInteger, nullable=False),
    sa.Column("contract_id", sa.String(255), nullable=False),
    sa.Column("dimension", sa.Integer, nullable=False),
    # 0: being built, 1: searched, 2: to be removed from the store.
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Index(None, "store", "collection_key", "kind"),
)

albums = sa.Table(
    "albums",
    metadata,
    sa.Column("key", _Key, primary_key=True),
    # NULL: deleted, and its rows are being removed in small transactions.
    sa.Column("album_id", _name(255), unique=True),
    sa.Column("title", sa.String(255), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    # The numbers of the last image and of the last listing: none is given twice.
    sa.Column("image_number", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("listing_number", sa.BigInteger, nullable=False, server_default="0"),
    # Where its faces are: an album has a collection of its own, of its id. The time tells the collection from
    # a later one of the same name.
    sa.Column("collection", sa.String(255), nullable=False, server_default=""),
    sa.Column("collection_created_at", sa.Double, nullable=False, server_default="0"),
    # An import: the images are the entries of this manifest. NULL: an album.
    sa.Column("manifest", sa.Text),
    # Where the images lie that a ListFaces export names, such as s3://bucket/{external_id}.
    sa.Column("template", sa.Text),
    # Another one with each change of people; the change of the collection up to which its faces have people.
    sa.Column("people_version", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("people_number", sa.BigInteger, nullable=False, server_default="0"),
    # Another one with each call whose end is to be told; the last whose end was; when the end is told next,
    # and times that this was tried.
    sa.Column("awaited", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("told", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("notice_at", sa.Double, nullable=False, server_default="0"),
    sa.Column("notice_attempts", sa.Integer, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

album_images = sa.Table(
    "album_images",
    metadata,
    sa.Column("album_key", _Key, sa.ForeignKey("albums.key"), primary_key=True, autoincrement=False),
    # 1, 2, 3... in the order in which they were added.
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    # Of source and version: the same one added again is found by it.
    sa.Column("digest", sa.LargeBinary(16), nullable=False),
    # s3://bucket/key or http(s)://host/path; upload:NAME for an image that came with a request.
    sa.Column("source", sa.Text, nullable=False),
    # Of an object in S3; NULL: the newest.
    sa.Column("version", sa.Text),
    sa.Column("external_id", sa.String(255), nullable=False),
    # 0: waiting, 1: done, 2: failed, 3: cancelled.
    sa.Column("state", sa.SmallInteger, nullable=False),
    # Whether a job was queued for it: what waits and has none is given one.
    sa.Column("queued", sa.Boolean, nullable=False),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("reason", sa.String(255)),
    sa.Column("faces", sa.SmallInteger, nullable=False, server_default="0"),
    # That of its faces, with external_id: NULL until it was looked at.
    sa.Column("image_id", sa.LargeBinary(16)),
    sa.Column("finished_at", sa.Double),
    sa.UniqueConstraint("album_key", "digest"),
    sa.Index(None, "album_key", "state", "number"),
    sa.Index(
        "ix_album_images_unqueued",
        "album_key",
        "number",
        sqlite_where=sa.text("queued = 0"),
        postgresql_where=sa.text("NOT queued"),
    ),
    sa.Index(
        "ix_album_images_image_id",
        "album_key",
        "image_id",
        sqlite_where=sa.text("image_id IS NOT NULL"),
        postgresql_where=sa.text("image_id IS NOT NULL"),
    ),
    sa.Index(
        "ix_album_images_finished_at",
        "album_key",
        "finished_at",
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

# Prefixes in S3 whose objects are an album's images.
album_listings = sa.Table(
    "album_listings",
    metadata,
    sa.Column("album_key", _Key, sa.ForeignKey("albums.key"), primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("bucket", sa.String(63), nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    # The last key that was read; empty before the first.
    sa.Column("after", sa.Text, nullable=False),
    # As of images.
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("queued", sa.Boolean, nullable=False),
    # Objects read, and those of them that are images by their names.
    sa.Column("objects", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("found", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("reason", sa.String(255)),
    sqlite_with_rowid=False,
)

# Persons of a manifest, enrolled by jobs.
person_imports = sa.Table(
    "person_imports",
    metadata,
    sa.Column("key", _Key, primary_key=True),
    sa.Column("import_id", _name(64), unique=True, nullable=False),
    sa.Column("manifest", sa.Text, nullable=False),
    # How strictly pictures are looked at; NULL: as the service does.
    sa.Column("review", sa.String(16)),
    sa.Column("created_at", sa.Double, nullable=False),
    # Of the last entry that was read.
    sa.Column("last_number", sa.BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

person_import_entries = sa.Table(
    "person_import_entries",
    metadata,
    sa.Column("import_key", _Key, sa.ForeignKey("person_imports.key"), primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    # Empty: a line that names no person.
    sa.Column("person_id", _name(128), nullable=False),
    # Where the pictures lie, as a JSON list, and metadata: both until the person is enrolled.
    sa.Column("images", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text),
    # As of album_images.
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("queued", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(255)),
    sa.Column("pictures", sa.SmallInteger, nullable=False, server_default="0"),
    # Pictures that were not taken, as a JSON list of [place, code, message].
    sa.Column("refused", sa.Text, nullable=False, server_default="[]"),
    sa.Column("finished_at", sa.Double),
    sa.Index(None, "import_key", "state"),
    sa.Index(None, "person_id"),
    sa.Index(
        "ix_person_import_entries_unqueued",
        "import_key",
        "number",
        sqlite_where=sa.text("queued = 0"),
        postgresql_where=sa.text("NOT queued"),
    ),
    sqlite_with_rowid=False,
)

album_people = sa.Table(
    "album_people",
    metadata,
    sa.Column("key", _Key, primary_key=True),
    sa.Column("album_key", _Key, sa.ForeignKey("albums.key"), nullable=False),
    sa.Column("person_id", sa.LargeBinary(16), nullable=False),
    sa.Column("name", sa.String(255)),
    sa.Column("hidden", sa.Boolean, nullable=False),
    # Whether somebody has said something about this person.
    sa.Column("confirmed", sa.Boolean, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("album_key", "person_id"),
    sqlite_autoincrement=True,
)

# A face that is deleted, by whomever, is nobody's.
album_person_faces = sa.Table(
    "album_person_faces",
    metadata,
    sa.Column(
        "face_key",
        _Key,
        sa.ForeignKey("faces.key", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("person_key", _Key, sa.ForeignKey("album_people.key"), nullable=False),
    # How well it shows the person.
    sa.Column("fitness", sa.Float, nullable=False),
    sa.Index(None, "person_key", "fitness"),
    sqlite_with_rowid=False,
)

# Faces that are said not to be a person.
album_person_exclusions = sa.Table(
    "album_person_exclusions",
    metadata,
    sa.Column("person_key", _Key, sa.ForeignKey("album_people.key"), primary_key=True, autoincrement=False),
    sa.Column(
        "face_key",
        _Key,
        sa.ForeignKey("faces.key", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Index(None, "face_key"),
    sqlite_with_rowid=False,
)

video_jobs = sa.Table(
    "video_jobs",
    metadata,
    sa.Column("job_id", _name(64), primary_key=True),
    # Names of facerec.domain.VideoOperation and VideoState.
    sa.Column("operation", sa.String(32), nullable=False),
    sa.Column("state", _name(16), nullable=False),
    # Where the video lies, as JSON; the machine (data folder) that alone has it, for one that was uploaded.
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("node", sa.String(32)),
    sa.Column("collection_name", sa.String(255)),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("all_attributes", sa.Boolean, nullable=False),
    sa.Column("job_tag", sa.String(1024)),
    sa.Column("topic", sa.String(1024)),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    # Each attempt has a number: one that was overtaken by the next writes nothing more.
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("progress_ms", sa.BigInteger, nullable=False),
    sa.Column("message", sa.Text),
    # facerec.domain.VideoMetadata as JSON.
    sa.Column("metadata", sa.Text),
    sa.Column("entries", sa.BigInteger, nullable=False),
    # Persons and their matches, packed.
    sa.Column("result", sa.LargeBinary),
    # When its end is to be told next, where it has not been told; times that this was tried.
    sa.Column("notice_at", sa.Double),
    sa.Column("notice_attempts", sa.Integer, nullable=False),
    sa.Index(None, "state"),
)

video_parts = sa.Table(
    "video_parts",
    metadata,
    sa.Column("job_id", _name(64), sa.ForeignKey("video_jobs.job_id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    # Faces of frames in the order of their times, packed: as many in each part, but for the last one.
    sa.Column("entries", sa.LargeBinary, nullable=False),
)

# Jobs of the queue in the database (facerec.jobs.embedded).
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("key", _Key, primary_key=True),
    sa.Column("kind", _name(64), nullable=False),
    # Of the jobs of a kind one may have it; NULL: any number.
    sa.Column("unique_key", _name(255)),
    sa.Column("payload", sa.Text, nullable=False),
    # facerec.jobs.base.Priority.
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("queued_at", sa.Double, nullable=False),
    # Not leased before: a delay, or the end of the lease that it is under.
    sa.Column("ready_at", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # Of the last lease; NULL: none, or given back.
    sa.Column("receipt", sa.String(32)),
    # Why it is tried again.
    sa.Column("reason", sa.String(500)),
    sa.UniqueConstraint("kind", "unique_key"),
    sa.Index("ix_jobs_priority", "priority", "key"),
    sqlite_autoincrement=True,
)

# Keys of the open jobs of a queue that cannot tell which are (facerec.jobs.keys).
job_keys = sa.Table(
    "job_keys",
    metadata,
    sa.Column("kind", _name(64), primary_key=True),
    sa.Column("unique_key", _name(255), primary_key=True),
    sa.Column("expires_at", sa.Double, nullable=False),
)

jobs_set_aside = sa.Table(
    "jobs_set_aside",
    metadata,
    # The key that it had as a job.
    sa.Column("key", _Key, primary_key=True, autoincrement=False),
    sa.Column("kind", _name(64), nullable=False),
    sa.Column("unique_key", _name(255)),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("reason", sa.String(500), nullable=False),
    sa.Column("set_aside_at", sa.Double, nullable=False),
)

# What was written by one process: a chain of digests, each of which covers the one before it.
audit_chains = sa.Table(
    "audit_chains",
    metadata,
    sa.Column("chain", _name(32), primary_key=True),
    # The last entry that was removed because of its age, 0 for none, and its digest.
    sa.Column("pruned_number", sa.BigInteger, nullable=False),
    sa.Column("pruned_digest", sa.String(64), nullable=False),
    sa.Column("last_number", sa.BigInteger, nullable=False),
    sa.Column("last_digest", sa.String(64), nullable=False),
)

audit_entries = sa.Table(
    "audit_entries",
    metadata,
    sa.Column("chain", _name(32), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
    # JSON: who, from where, which operation, on what, with which outcome.
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Index("ix_audit_entries_at", "at"),
)
