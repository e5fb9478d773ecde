"""A collection on its way to another model, with requests that come meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from service_house import House, open_fake, open_house, picture

from facerec.domain import (
    Collection,
    EntityKind,
    Face,
    ImageReference,
    InlineImage,
    MigrationObstacle,
    QuantizedEmbedding,
)
from facerec.engine.base import Floats, FoundFace, Picture
from facerec.engine.fake import FakeEngine
from facerec.errors import Conflict, InvalidS3Object, NotFound, PackError
from facerec.metastore import changes, collections, faces, users
from facerec.metastore.tables import metadata
from facerec.services.model_migration.control import ModelMigrations
from facerec.services.model_migration.looking import FaceFinder
from facerec.services.model_migration.planning import MigrationPlanner
from facerec.services.model_migration.run import MigrationRun, Progress

NEW = "fake@2.0"


@dataclass
class Store:
    """Where the images lie: by external image id."""

    images: dict[str, InlineImage] = field(default_factory=dict)
    loaded: int = 0

    def find(self, face: Face) -> ImageReference | None:
        return self.images.get(face.external_image_id or "")

    def load(self, reference: ImageReference) -> bytes:
        assert isinstance(reference, InlineImage)
        self.loaded += 1
        if not reference.data:
            raise InvalidS3Object
        return reference.data


@dataclass
class Move:
    """One house, its images, and the migration of its collection."""

    house: House
    store: Store
    control: ModelMigrations
    engine: FakeEngine = field(default_factory=lambda: open_fake(NEW))

    def index(self, name: str, *identities: str, variation: int = 0) -> list[str]:
        self.store.images[name] = picture(*(identities or (name,)), variation=variation)
        result = self.house.faces.index("album", self.store.images[name], external_image_id=name)
        return [record.face.face_id for record in result.indexed]

    def begin(self) -> None:
        self.control.begin("album", self.engine.contract, old_pack="fake", new_pack=NEW, images="store")

    def runner(self, engine: FakeEngine | None = None) -> MigrationRun:
        finder = FaceFinder(engine or self.engine, self.store)
        return MigrationRun(self.house.database, finder, self.store, workers=3, sleep=lambda _: None)

    def migrate(self) -> list[Progress]:
        self.begin()
        reports: list[Progress] = []
        self.runner().run("album", reports.append)
        return reports

    def vectors(self, *, twin: bool) -> dict[str, QuantizedEmbedding]:
        """Embeddings by face id."""
        with self.house.database.read() as connection:
            target = collections.find(connection, "album")
            found = collections.twin_of(connection, target) if twin else target
            assert found is not None
            stored = [face for _, face in faces.list_after(connection, found, 0, 1000)]
            rows = changes.embeddings(connection, EntityKind.FACE, [face.key for face in stored])
            return {face.face_id: rows[face.key] for face in stored}

    def aggregates(self, *, twin: bool) -> dict[str, QuantizedEmbedding | None]:
        """Aggregates by user id, None for a user without faces."""
        with self.house.database.read() as connection:
            target = collections.find(connection, "album")
            found = collections.twin_of(connection, target) if twin else target
            assert found is not None
            people = users.list_after(connection, found, "", 1000)
            rows = changes.embeddings(connection, EntityKind.USER, [user.key for user in people])
            assert all(user.face_count == (user.key in rows and user.face_count) for user in people)
            return {user.user_id: rows.get(user.key) for user in people}


@pytest.fixture
def move(tmp_path: Path) -> Iterator[Move]:
    with open_house(tmp_path) as house:
        house.collections.create("album", {"team": "red"})
        yield Move(house, Store(), ModelMigrations(house.database))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Move]:
    """The same in a house of the new model."""
    with open_house(tmp_path / "fresh", engine=open_fake(NEW)) as house:
        house.collections.create("album")
        yield Move(house, Store(), ModelMigrations(house.database))


def check_equal_to(move: Move, fresh: Move) -> None:
    """The switched collection holds the very vectors that indexing with the new model gives."""
    described = move.house.collections.describe("album")
    own = {face.face_id: face for face in move.house.faces.list("album").page.items}
    others = {face.external_image_id: face for face in fresh.house.faces.list("album").page.items}
    vectors, expected = move.vectors(twin=False), fresh.vectors(twin=False)
    assert described.face_count == len(own) == len(others)
    for face_id, face in own.items():
        assert vectors[face_id] == expected[others[face.external_image_id].face_id]
    assert move.aggregates(twin=False) == fresh.aggregates(twin=False)


def populate(move: Move) -> dict[str, str]:
    """Twelve people's faces, four of them a user's; face ids by name."""
    ids = {}
    for number in range(12):
        (ids[f"p{number}"],) = move.index(f"p{number}")
    for user, names in (("ann", ["p0", "p1"]), ("ben", ["p2", "p3"]), ("cid", [])):
        move.house.people.create("album", user)
        if names:
            move.house.people.associate("album", user, [ids[name] for name in names], threshold=0)
    return ids


def test_a_migrated_collection_is_as_if_indexed_with_the_new_model(move: Move, fresh: Move) -> None:
    ids = populate(move)
    other = populate(fresh)
    before = move.house.collections.describe("album")
    reports = move.migrate()
    assert (reports[-1].done, reports[-1].failed, reports[-1].pending) == (12, 0, 0)
    assert move.vectors(twin=True).keys() == set(ids.values())
    move.control.finish("album", keep_old=False, leave_failed=False)
    check_equal_to(move, fresh)
    after = move.house.collections.describe("album")
    assert (after.created_at, after.face_count, after.user_count) == (before.created_at, 12, 3)
    assert (before.model_version, after.model_version) == ("1.0", "2.0")
    assert move.house.collections.tags("album") == {"team": "red"}
    found = move.house.faces.search_by_image("album", picture("p5", variation=3))
    expected = fresh.house.faces.search_by_image("album", picture("p5", variation=3))
    assert [match.face.face_id for match in found.matches] == [ids["p5"]]
    assert found.matches[0].cosine == pytest.approx(expected.matches[0].cosine, abs=1e-6)
    near = move.house.people.search("album", face_id=ids["p1"])
    assert [match.user.user_id for match in near.matches] == ["ann"]
    assert near.matches[0].cosine == pytest.approx(
        fresh.house.people.search("album", face_id=other["p1"]).matches[0].cosine, abs=1e-6
    )


def test_changes_made_meanwhile_reach_both_models(move: Move, fresh: Move) -> None:
    ids = populate(move)
    move.migrate()
    people = move.house.people
    move.index("new")
    (more,) = move.index("more")
    people.create("album", "eve")
    people.associate("album", "eve", [more, ids["p4"]], threshold=0)
    people.disassociate("album", "ann", [ids["p0"]])
    people.delete("album", "ben")
    move.house.faces.delete("album", [ids["p0"], ids["p5"]])
    assert move.vectors(twin=True).keys() == move.vectors(twin=False).keys()
    assert move.control.status("album").pending == 0

    other = populate(fresh)
    for name in ("new", "more"):
        (other[name],) = fresh.index(name)
    fresh.house.people.create("album", "eve")
    fresh.house.people.associate("album", "eve", [other["more"], other["p4"]], threshold=0)
    fresh.house.people.disassociate("album", "ann", [other["p0"]])
    fresh.house.people.delete("album", "ben")
    fresh.house.faces.delete("album", [other["p0"], other["p5"]])
    assert move.aggregates(twin=True) == fresh.aggregates(twin=False)
    move.control.finish("album", keep_old=True, leave_failed=False)
    check_equal_to(move, fresh)

    # The old embeddings are kept up to date until they are dropped: going back loses nothing.
    (last,) = move.index("last")
    move.house.faces.delete("album", [ids["p6"]])
    move.control.abort("album")
    listed = {face.face_id for face in move.house.faces.list("album").page.items}
    assert last in listed
    assert ids["p6"] not in listed
    assert move.house.faces.search("album", last, threshold=0).model_version == "1.0"
    move.house.collections.finish_deletions()
    with move.house.database.read() as connection:
        assert connection.scalar(sa.text("select count(*) from collections")) == 1


def test_a_face_that_the_new_model_can_not_have_at_once_waits_on_the_list(move: Move) -> None:
    populate(move)
    move.migrate()
    move.house.faces._twins._engines._by_contract.pop(move.engine.contract.id, None)
    with pytest.MonkeyPatch.context() as patch:

        def fail(_pack: str) -> FakeEngine:
            raise PackError("not on this machine")

        patch.setattr(move.house.faces._twins._engines, "_open_pack", fail)
        patch.setattr(move.house.faces._twins._engines, "_by_pack", {})
        move.index("late")
    assert move.control.status("album").pending == 1
    with pytest.raises(Conflict, match="1 faces of the collection id: album wait"):
        move.control.finish("album", keep_old=False, leave_failed=True)
    with pytest.raises(Conflict, match="1 faces of the collection id: album wait"):
        move.control.share("album", 0.5)
    move.migrate()
    assert move.control.status("album").done == 13


def test_what_can_not_be_migrated_is_told_and_stays_with_the_old_model(move: Move) -> None:
    populate(move)
    move.store.images["p1"] = picture("p1", variation=9)
    move.store.images["p2"] = InlineImage(b"")
    del move.store.images["p3"]
    reports = move.migrate()
    assert (reports[-1].done, reports[-1].failed) == (9, 3)
    told = {face.external_image_id: reason for face, reason in move.control.failures("album")}
    assert told == {
        "p1": MigrationObstacle.IMAGE_CHANGED,
        "p2": MigrationObstacle.IMAGE_MISSING,
        "p3": MigrationObstacle.NO_REFERENCE,
    }
    with pytest.raises(Conflict, match="3 faces of the collection id: album could not be migrated"):
        move.control.finish("album", keep_old=True, leave_failed=False)
    move.store.images["p1"] = picture("p1")
    move.control.retry("album")
    move.migrate()
    assert move.control.status("album").done == 10
    move.control.finish("album", keep_old=True, leave_failed=True)
    assert move.house.collections.describe("album").face_count == 10
    assert len(move.control.failures("album")) == 2
    move.control.drop_old("album")
    move.house.collections.finish_deletions()
    with move.house.database.read() as connection:
        assert connection.scalar(sa.text("select count(*) from faces")) == 10
        assert connection.scalar(sa.text("select count(*) from migration_failures")) == 0
        assert connection.scalar(sa.text("select count(*) from leases where deadline > 0")) == 0


def test_a_deleted_collection_takes_its_migration_with_it(move: Move) -> None:
    populate(move)
    del move.store.images["p3"]
    move.migrate()
    move.house.collections.delete("album")
    with move.house.database.read() as connection:
        for table in ("collections", "faces", "users", "tags", "model_migrations", "migration_failures"):
            assert connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables[table])) == 0
    with pytest.raises(NotFound):
        move.runner().run("album", lambda _: None)


def test_two_runs_at_once_embed_every_face_once(move: Move) -> None:
    for number in range(40):
        move.index(f"image{number}", f"p{number}", f"q{number}")
    move.begin()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            move.runner().run("album", lambda _: None)
        except BaseException as error:  # noqa: BLE001  (told by the test, not by a thread that dies)
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert move.vectors(twin=True).keys() == move.vectors(twin=False).keys()
    assert move.control.status("album").twin.face_count == 80
    # Each image is looked at once for both of its faces, by whichever run has its piece.
    assert move.store.loaded == 40


# --- the moment of the switch ----------------------------------------------------------------------


def nothing() -> None:
    """Happens most of the time."""


def abort_of(move: Move) -> Callable[[], None]:
    def abort() -> None:
        move.control.abort("album")

    return abort


class Interrupted(FakeEngine):
    """Embeds, and has something happen before it answers; once."""

    def __init__(self) -> None:
        super().__init__()
        self.happen: Callable[[], None] = nothing

    def embed(self, picture: Picture, faces: Sequence[FoundFace]) -> Floats:
        found = super().embed(picture, faces)
        happen, self.happen = self.happen, nothing
        happen()
        return found


@pytest.fixture
def engine() -> Interrupted:
    return Interrupted()


@pytest.fixture
def switching(tmp_path: Path, engine: Interrupted) -> Iterator[Move]:
    with open_house(tmp_path, engine=engine) as house:
        house.collections.create("album")
        move = Move(house, Store(), ModelMigrations(house.database))
        populate(move)
        move.migrate()
        yield move


@pytest.mark.parametrize("keep_old", [True, False])
def test_requests_in_the_midst_of_the_switch_are_answered_by_the_new_model(
    switching: Move, engine: Interrupted, keep_old: bool
) -> None:
    def switch() -> None:
        switching.control.finish("album", keep_old=keep_old, leave_failed=False)
        switching.house.collections.finish_deletions()

    engine.happen = switch
    (face_id,) = switching.index("midst")
    assert switching.house.collections.describe("album").model_version == "2.0"
    found = switching.house.faces.search("album", face_id, threshold=0)
    assert found.model_version == "2.0"
    assert len(found.matches) == 12
    assert switching.vectors(twin=False)[face_id] is not None
    if keep_old:
        engine.happen = abort_of(switching)
        by_image = switching.house.faces.search_by_image("album", picture("p3", variation=2))
        assert by_image.matches[0].face.external_image_id == "p3"


@pytest.mark.parametrize("by", ["image", "user"])
def test_a_search_in_the_midst_of_the_switch_finds_what_it_would_before(
    switching: Move, engine: Interrupted, by: str
) -> None:
    def switch() -> None:
        switching.control.finish("album", keep_old=False, leave_failed=False)
        switching.house.collections.finish_deletions()

    engine.happen = switch
    probe = picture("p1", variation=7)
    if by == "image":
        faces_found = switching.house.faces.search_by_image("album", probe)
        assert [match.face.external_image_id for match in faces_found.matches] == ["p1"]
        assert faces_found.model_version == "2.0"
    else:
        people_found = switching.house.people.search_by_image("album", probe, threshold=60)
        assert [match.user.user_id for match in people_found.matches] == ["ann"]
        assert people_found.model_version == "2.0"


def test_an_aborted_migration_in_the_midst_of_indexing_leaves_the_face(
    switching: Move, engine: Interrupted
) -> None:
    engine.happen = abort_of(switching)
    (face_id,) = switching.index("midst")
    assert face_id in switching.vectors(twin=False)
    assert switching.house.collections.describe("album").twin is None


# --- a share of the searches -----------------------------------------------------------------------


def test_a_stable_share_of_searches_is_answered_by_the_new_model(move: Move) -> None:
    ids = populate(move)
    move.migrate()
    probes = [picture(f"p{number % 12}", variation=number) for number in range(1, 121)]

    def answers() -> list[str]:
        return [move.house.faces.search_by_image("album", probe).model_version for probe in probes]

    assert set(answers()) == {"1.0"}
    move.control.share("album", 0.3)
    first = answers()
    assert 20 <= first.count("2.0") <= 55  # 36 expected, standard deviation 5
    assert answers() == first
    agreement = move.control.status("album").migration.agreement
    assert agreement.searches == agreement.same_best == 2 * first.count("2.0")
    move.control.share("album", 1)
    assert set(answers()) == {"2.0"}
    assert move.house.faces.search("album", ids["p1"]).model_version == "2.0"
    assert move.house.people.search("album", face_id=ids["p1"], threshold=0).model_version == "2.0"
    before = move.control.status("album").migration.agreement
    stranger = move.house.faces.search_by_image("album", picture("stranger"))
    assert (stranger.model_version, stranger.matches) == ("2.0", ())
    assert move.control.status("album").migration.agreement.neither == before.neither + 1
    move.control.share("album", 0)
    assert set(answers()) == {"1.0"}


def test_the_share_sees_what_was_indexed_and_deleted_just_before(move: Move) -> None:
    ids = populate(move)
    move.migrate()
    move.control.share("album", 1)
    (late,) = move.index("late")
    found = move.house.faces.search_by_image("album", picture("late", variation=1))
    assert ([match.face.face_id for match in found.matches], found.model_version) == ([late], "2.0")
    move.house.faces.delete("album", [ids["p7"]])
    assert move.house.faces.search_by_image("album", picture("p7", variation=1)).matches == ()


def test_a_plan_counts_and_measures_and_stores_nothing(move: Move) -> None:
    populate(move)
    move.store.images["p1"] = InlineImage(b"")
    del move.store.images["p2"]
    finder = FaceFinder(move.engine, move.store)
    planner = MigrationPlanner(move.house.database, finder, move.engine.contract, workers=2)
    plan = planner.plan("album", move.store, sample=None, report=lambda: None)
    assert (plan.without_reference, plan.sampled, plan.found) == (1, 11, 10)
    assert plan.obstacles == {MigrationObstacle.IMAGE_MISSING: 1}
    assert [face.external_image_id for face, _ in plan.examples] == ["p1"]
    assert plan.seconds == pytest.approx(11 / plan.faces_per_second)
    assert planner.plan("album", move.store, sample=4, report=lambda: None).sampled == 4
    with pytest.raises(Conflict, match="on its way to no other model"):
        move.control.status("album")


def test_the_twin_is_nobodys_to_find(move: Move) -> None:
    populate(move)
    move.migrate()
    twin: Collection = move.control.status("album").twin
    assert [found.name for found in move.house.collections.list().items] == ["album"]
    with pytest.raises(NotFound):
        move.house.collections.describe(twin.name)
    with pytest.raises(NotFound):
        move.house.faces.list(twin.name)
