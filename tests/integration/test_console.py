"""The console in a real Chromium, over a real server: signed in, looked at, used, in light and dark."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from browser import Watch, chromium, hindrances
from PIL import Image
from serving import FACEREC, Server, serving

from facerec.bootstrap import open_queue
from facerec.config import read_settings
from facerec.jobs.base import NewJob

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

PAGES = (
    "",
    "analyse",
    "compare",
    "search",
    "collections",
    "collections/guests",
    "people",
    "people/ann",
    "enrol",
    "albums",
    "albums/party",
    "jobs",
    "keys",
    "audit",
    "accuracy",
    "settings",
)
"""Addresses of the pages that show something without more being done."""
MOST_TABS = 60


@dataclass(frozen=True)
class Site:
    """A server with keys, and something in it."""

    server: Server
    admin: str
    reader: str
    photos: Path

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """What the REST door answers to the admin's key."""
        answer = httpx.request(
            method,
            f"{self.server.url}/api/v1/{path}",
            headers={"X-API-Key": self.admin},
            timeout=30,
            **options,
        )
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def site(
    scrfd_pack: Path, shared: Path, s3_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("console")
    account = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    settings = {"FACEREC_SWEEP_SECONDS": "1", "FACEREC_S3_ENDPOINT_URL": s3_url, **account}
    with serving(folder / "data", model=scrfd_pack, settings=settings) as server:
        made = Site(
            server,
            admin=new_key(server, "admin"),
            reader=new_key(server, "read"),
            photos=shared / "data" / "photos",
        )
        made.ask("POST", "collections", json={"collection_id": "guests"})
        with (made.photos / "003_A.jpg").open("rb") as file:
            named = {"external_image_id": "ann"}
            made.ask("POST", "collections/guests/index-faces", files={"file": file}, data=named)
        with (made.photos / "003_A.jpg").open("rb") as file:
            made.ask("POST", "register", files={"images": file}, data={"person_id": "ann"})
        made.ask("POST", "albums", json={"album_id": "party", "title": "A party"})
        yield made


def new_key(server: Server, scope: str) -> str:
    """An API key, made by the command line beside the server."""
    done = subprocess.run(
        [str(FACEREC), "keys", "create", "--api", "--scope", scope],
        env={"FACEREC_DATA_DIR": str(server.data), "PATH": "/usr/bin:/bin"},
        cwd=server.data.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return next(word for word in done.stdout.split() if word.startswith("frk_") and "." in word)


@pytest.fixture(scope="module")
def camera(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a camera shows: somebody who sits still."""
    frame = tmp_path_factory.mktemp("camera") / "frame.jpg"
    with Image.open(site.photos / "003_A.jpg") as photo:
        photo.crop((2500, 700, 3900, 1750)).resize((960, 720)).save(frame, quality=92)
    film = frame.with_suffix(".mjpeg")
    film.write_bytes(frame.read_bytes() * 5)
    return film


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[Browser]:
    with chromium(camera=str(camera)) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page of a new visitor; the test fails where it has errors, or asks for anything from elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(15_000)
    opened = context.new_page()
    watch = Watch(opened, site.server.url)
    yield opened
    watch.check()
    context.close()


def sign_in(page: Page, site: Site, key: str, path: str = "") -> None:
    page.goto(f"{site.server.url}/console/#/{path}")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    wait_until_whole(page)


def open_page(page: Page, path: str) -> None:
    """Go to a page if another one is shown, and wait until it is whole."""
    if not page.url.endswith(f"#/{path}"):
        page.evaluate("path => { document.activeElement.blur(); location.hash = `#/${path}`; }", path)
        wait_until_whole(page)


def wait_until_whole(page: Page) -> None:
    """Wait for the last that a page does when it is shown: its title takes the focus."""
    page.locator("main h1:focus").wait_for()
    page.locator("main .skeleton").first.wait_for(state="detached")


def test_nobody_gets_in_without_a_key(page: Page, site: Site) -> None:
    page.goto(f"{site.server.url}/console")
    assert page.url.endswith("/console/")
    page.get_by_label("API key").fill("frk_ABCDEFGHABCDEFGH.c2VjcmV0")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("The API key is not valid.").wait_for()
    assert page.get_by_text("InvalidCredentials").is_visible()
    page.get_by_label("API key").fill(site.reader)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Dashboard").wait_for()
    assert page.evaluate("sessionStorage.getItem('facerec.key')") == site.reader
    assert page.evaluate("Object.keys(localStorage)") == []
    page.reload()
    page.get_by_role("heading", name="Dashboard").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key").wait_for()
    assert page.evaluate("sessionStorage.length") == 0


def test_the_policy_lets_nothing_else_in(site: Site) -> None:
    answer = httpx.get(f"{site.server.url}/console/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "<script>" not in answer.text
    for missing in ("nothing.js", "../../bootstrap.py", "%2e%2e/__init__.py"):
        assert httpx.get(f"{site.server.url}/console/{missing}").status_code == 404


def test_a_reader_is_shown_what_it_may_not_do(page: Page, site: Site) -> None:
    sign_in(page, site, site.reader, "collections")
    new = page.get_by_role("button", name="New collection")
    new.click(force=True)  # it is shown as disabled, and answers all the same
    page.get_by_text("Not allowed. This takes a key with the scope admin; yours has read.").first.wait_for()
    assert new.get_attribute("aria-disabled") == "true"
    assert page.locator("dialog").count() == 0


def test_the_first_page_tells_how_every_part_is_and_how_fast_answers_come(page: Page, site: Site) -> None:
    sign_in(page, site, site.reader)
    health = page.locator("main li")
    for name, detail in {
        "Service": "process 1 of 1",
        "Recognition": "numbers a face",
        "Database": "sqlite, answers in",
        "Search index": "embedded",
        "Queue": "sqlite, answers in",
        "Disk": "MiB free",
    }.items():
        health.filter(has_text=name).filter(has_text=detail).filter(has_text="Well").first.wait_for()
    latency = page.locator(".tile", has_text="Latency")
    latency.filter(has_text="95 % within").wait_for(timeout=30_000)  # between two looks at /metrics


def test_collections_are_made_filled_and_deleted(page: Page, site: Site) -> None:
    sign_in(page, site, site.admin, "collections")
    page.get_by_role("button", name="New collection").click()
    page.get_by_label("Name").fill("guests")
    page.get_by_role("button", name="Make it").click()
    page.get_by_text("AlreadyExists").wait_for()
    page.get_by_label("Name").fill("staff")
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("link", name="staff").click()
    page.get_by_text("No faces yet").wait_for()
    page.set_input_files("input[type=file]", site.photos / "004_A.jpg")
    page.get_by_text("004_A.jpg: 1 stored").wait_for()
    page.get_by_role("cell", name="004_A.jpg").wait_for()
    assert site.ask("GET", "collections/staff")["faces"] == 1
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_label("Type staff to go on").fill("staff")
    page.locator("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("heading", name="Collections").wait_for()
    names = [each["collection_id"] for each in site.ask("GET", "collections")["collections"]]
    assert "staff" not in names


def test_a_photo_is_analysed(page: Page, site: Site) -> None:
    sign_in(page, site, site.reader, "analyse")
    page.get_by_label("Look in").select_option("guests")
    transfer = page.evaluate_handle(
        """async name => {
            const transfer = new DataTransfer();
            const canvas = new OffscreenCanvas(10, 10);
            canvas.getContext("2d");
            transfer.items.add(new File([await canvas.convertToBlob()], name, {type: "image/png"}));
            return transfer;
        }""",
        "nobody.png",
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    page.get_by_text("No face found").wait_for()
    page.get_by_role("button", name="Another photo").click()
    page.set_input_files("input[type=file]", site.photos / "003_A.jpg")
    page.get_by_role("button", name="Face 1: ann").wait_for()
    assert page.locator(".match").first.inner_text().startswith("ann")
    assert page.locator(".point:visible").count() == 5
    box = page.locator(".photo .box").bounding_box()
    image = page.locator(".photo img").bounding_box()
    assert box is not None
    assert image is not None
    assert image["x"] < box["x"] < image["x"] + image["width"]
    assert abs(image["width"] / image["height"] - 6988 / 4664) < 0.02  # not out of shape
    assert hindrances(page) == []


def test_two_photos_are_compared(page: Page, site: Site) -> None:
    sign_in(page, site, site.reader, "compare")
    page.set_input_files("input[aria-label='First photo']", site.photos / "003_A.jpg")
    page.locator(".photo").wait_for()
    page.set_input_files("input[aria-label='Second photo']", site.photos / "004_A.jpg")
    page.get_by_role("heading", name="The same person").wait_for()
    page.get_by_role("button", name="Another photo").nth(1).click()
    page.set_input_files("input[aria-label='Second photo']", site.photos / "007_B.jpg")
    page.get_by_role("heading", name="Not the same person").wait_for()
    assert hindrances(page) == []


def test_the_frame_at_work_is_waited_for_before_somebody_is_enrolled(page: Page, site: Site) -> None:
    sign_in(page, site, site.admin, "enrol")
    page.get_by_role("button", name="Turn the camera on").click()
    page.get_by_label("Person").fill("in-a-hurry")
    page.get_by_label("How strictly pictures are judged").select_option("off")
    page.get_by_role("button", name="Begin").click()
    page.get_by_label("A frame that was taken").first.wait_for()
    # From now on a frame takes two seconds to get there.
    page.evaluate(
        """() => new Promise((begun) => {
            const send = window.fetch;
            window.fetch = async (address, options) => {
                if (!String(address).endsWith("/frames")) return send(address, options);
                begun();
                await new Promise((resolve) => { setTimeout(resolve, 2000); });
                return send(address, options);
            };
        })"""
    )
    page.get_by_role("button", name="Enrol", exact=True).click()
    done = page.get_by_text("in-a-hurry is enrolled.")
    done.wait_for()
    page.wait_for_timeout(3000)
    assert done.is_visible()
    assert page.get_by_role("button", name="Begin", exact=True).is_visible()


def test_somebody_is_enrolled_before_the_camera(page: Page, site: Site) -> None:
    sign_in(page, site, site.admin, "enrol")
    page.get_by_role("button", name="Turn the camera on").click()
    page.get_by_role("button", name="Begin").click()
    page.get_by_text("The person has no name yet.").wait_for()
    page.get_by_label("Person").fill("before-the-camera")
    page.get_by_label("How strictly pictures are judged").select_option("off")
    page.get_by_role("button", name="Begin").click()
    page.get_by_label("A frame that was taken").first.wait_for()
    page.get_by_text("Quality of the frame").wait_for()
    assert hindrances(page) == []
    page.get_by_role("button", name="Enrol", exact=True).click()
    page.get_by_text("before-the-camera is enrolled.").wait_for()
    assert site.ask("GET", "faces/before-the-camera")["embeddings"] >= 1


def test_people_of_an_album_are_seen_and_named(page: Page, site: Site) -> None:
    sign_in(page, site, site.admin, "albums/party")
    page.get_by_text("Nobody yet").wait_for()
    names = ("003_A.jpg", "004_A.jpg", "007_B.jpg", "008_B.jpg")
    page.set_input_files("input[aria-label='Add photos']", [site.photos / name for name in names])
    page.get_by_text("4 photos looked at").wait_for()
    page.locator(".gallery canvas").nth(1).wait_for(timeout=60_000)  # cut from the photos that were added
    assert hindrances(page) == []
    page.get_by_role("link", name="Person 1").click()
    page.get_by_label("Name").fill("Ann")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Ann").wait_for()
    assert hindrances(page) == []
    page.get_by_role("link", name="The album").click()
    page.get_by_role("link", name="Ann").wait_for()
    page.get_by_label("Choose Ann").check()
    page.get_by_label("Choose Person 2").check()
    page.get_by_role("button", name="They are one person").click()
    page.get_by_role("link", name="Person 2").wait_for(state="detached")
    people = site.ask("GET", "albums/party/people")["people"]
    assert [(one["name"], one["photos"]) for one in people] == [("Ann", 4)]
    page.get_by_role("link", name="Find a guest").click()
    page.set_input_files("input[aria-label='Drop a photo here']", site.photos / "005_A.jpg")
    page.get_by_role("cell", name="003_A.jpg").wait_for()


def test_photos_are_fetched_and_people_split_and_hidden(page: Page, site: Site, s3: S3Client) -> None:
    s3.create_bucket(Bucket="console")
    names = ("003_A.jpg", "004_A.jpg", "007_B.jpg")
    for name in names:
        s3.put_object(Bucket="console", Key=name, Body=(site.photos / name).read_bytes())
    site.ask("POST", "albums", json={"album_id": "booth"})
    sources = [f"s3://console/{name}" for name in names]
    site.ask("POST", "albums/booth/images", json={"images": sources})
    sign_in(page, site, site.admin, "albums/booth")
    page.get_by_text("3 looked at").wait_for(timeout=60_000)  # told by events while the page is open
    page.get_by_role("link", name="Person 2").wait_for(timeout=60_000)
    assert page.locator(".gallery canvas").count() == 0
    page.get_by_role("button", name="Fetch photos from their sources").click()
    page.locator(".gallery canvas").nth(1).wait_for(timeout=60_000)
    page.get_by_role("link", name="Person 1").click()
    page.get_by_role("button", name="Fetch photos from their sources").click()
    page.locator(".photos-of canvas").nth(1).wait_for(timeout=60_000)
    page.get_by_label("Choose the face in 004_A.jpg").check()
    page.get_by_role("button", name="Another person").click()
    page.get_by_text("In 1 photo of this album.").wait_for()
    page.get_by_role("button", name="Hide").click()
    page.get_by_text("hidden", exact=True).wait_for()
    page.get_by_role("link", name="The album").click()
    page.get_by_role("link", name="Person 2").wait_for()
    assert page.locator(".gallery .person").count() == 2
    page.get_by_label("Hidden people too").check()
    page.get_by_role("link", name="Person 3").wait_for()
    assert hindrances(page) == []
    people = site.ask("GET", "albums/booth/people", params={"hidden": "true"})["people"]
    assert sorted((one["photos"], one["hidden"]) for one in people) == [(1, False), (1, False), (1, True)]


def test_a_key_is_made_once_shown_and_revoked(page: Page, site: Site) -> None:
    sign_in(page, site, site.admin, "keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Label").fill("gate")
    page.get_by_role("button", name="Make it").click()
    secret = page.locator(".secret code").inner_text()
    assert hindrances(page) == []
    headers = {"X-API-Key": secret}
    assert httpx.get(f"{site.server.url}/api/v1/whoami", headers=headers).json()["scope"] == "read"
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Rotate gate").click()
    page.get_by_label("The old secret is taken").select_option("no more")
    page.locator("dialog").get_by_role("button", name="Rotate").click()
    page.get_by_text("The key has a new secret").wait_for()
    rotated = {"X-API-Key": page.locator(".secret code").inner_text()}
    assert httpx.get(f"{site.server.url}/api/v1/whoami", headers=headers).status_code == 401
    headers = rotated
    assert httpx.get(f"{site.server.url}/api/v1/whoami", headers=headers).status_code == 200
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Revoke gate").click()
    page.locator("dialog").get_by_role("button", name="Revoke").click()
    page.get_by_text("The key is revoked.").first.wait_for()
    assert httpx.get(f"{site.server.url}/api/v1/whoami", headers=headers).status_code == 401


def test_a_job_that_was_set_aside_is_tried_again(page: Page, site: Site) -> None:
    """Of a kind that this server does not know, so that none of its threads takes it in between."""
    kind = "of-a-newer-version"
    with open_queue(read_settings(data_dir=site.server.data)) as queue:
        queue.put([NewJob(kind=kind, payload={})])
        (job,) = queue.lease([kind], 1, seconds=60)
        queue.set_aside(job, reason="too new")
        sign_in(page, site, site.admin, "jobs")
        row = page.get_by_role("row").filter(has_text=kind).filter(has_text="too new")
        row.get_by_role("button", name="Try again").click()
        page.get_by_text("1 job queued anew.").first.wait_for()
        row.wait_for(state="detached")
        assert (queue.counts()[kind].waiting, queue.counts()[kind].set_aside) == (1, 0)
    assert hindrances(page) == []


def test_all_is_done_with_the_keyboard_alone(page: Page, site: Site) -> None:
    """Signed in, past the menu, a collection made and deleted; whoever has the focus is seen to have it."""
    page.goto(f"{site.server.url}/console/")
    page.get_by_label("API key").wait_for()
    tab_to(page, "API key")
    page.keyboard.insert_text(site.admin)
    page.keyboard.press("Enter")
    wait_until_whole(page)
    tab_to(page, "Collections")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Collections").wait_for()
    wait_until_whole(page)
    tab_to(page, "New collection")
    page.keyboard.press("Enter")
    page.get_by_label("Name").wait_for()
    for _ in range(8):  # the focus stays in the dialog
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('dialog, body:not(:focus-within)') !== null")
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert focused(page) == "New collection"
    page.keyboard.press("Enter")
    tab_to(page, "Name")
    page.keyboard.insert_text("by-keyboard")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="by-keyboard").wait_for()
    tab_to(page, "by-keyboard")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="by-keyboard").wait_for()
    wait_until_whole(page)
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Delete by-keyboard?").wait_for()
    assert focused(page) == "Cancel"  # not what can not be taken back
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Collections").wait_for()
    names = [each["collection_id"] for each in site.ask("GET", "collections")["collections"]]
    assert "by-keyboard" not in names


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is called so, or begins so, has the focus, and is seen to have it."""
    passed: list[str] = []
    while not focused(page).startswith(name):
        passed.append(focused(page))
        assert len(passed) < MOST_TABS, f"{name} is not reached by Tab, but {passed}"
        page.keyboard.press("Tab")
    assert page.evaluate(
        """() => {
            const style = getComputedStyle(document.activeElement);
            return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
        }"""
    ), f"nobody sees that {name} has the focus"


def focused(page: Page) -> str:
    """The name of what has the focus, as it is read out."""
    return str(
        page.evaluate(
            """() => {
                const element = document.activeElement;
                const text = (element.labels?.[0] ?? element).textContent;
                return (element.getAttribute("aria-label") ?? text).trim();
            }"""
        )
    )


def test_who_did_what_is_read_page_by_page(page: Page, site: Site) -> None:
    for number in range(30):
        site.ask("POST", "collections", json={"collection_id": f"room{number}"})
        site.ask("DELETE", f"collections/room{number}")
    sign_in(page, site, site.admin, "audit")
    page.get_by_role("cell", name="room29").first.wait_for()
    assert page.locator("tbody tr").count() == 50
    page.get_by_role("button", name="Later").click()
    page.get_by_role("cell", name="room0", exact=True).first.wait_for()
    page.get_by_label("About").fill("ann")
    page.get_by_role("button", name="Look").click()
    page.get_by_role("cell", name="POST /register").first.wait_for()
    assert page.get_by_role("cell", name="room0", exact=True).count() == 0


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_pages_hinder_nobody(page: Page, site: Site, colours: Any) -> None:
    page.emulate_media(color_scheme=colours, reduced_motion="reduce")
    rules = ["color-contrast"] if colours == "dark" else []  # all else is the same in both
    page.goto(f"{site.server.url}/console/")
    page.get_by_label("API key").wait_for()
    assert hindrances(page, rules=rules) == []
    sign_in(page, site, site.admin)
    for path in PAGES:
        open_page(page, path)
        assert hindrances(page, rules=rules) == [], path


def test_a_phone_shows_it_without_scrolling_aside(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in(page, site, site.admin)
    page.get_by_role("button", name="Menu").click()
    page.keyboard.press("Escape")
    page.locator("#opener:focus").wait_for()
    for path in PAGES:
        open_page(page, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_what_is_told_of_a_face_fits_a_phone(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in(page, site, site.reader, "analyse")
    page.set_input_files("main input[type=file]", site.photos / "003_A.jpg")
    page.locator(".measures").first.wait_for()
    page.locator(".measure :nth-child(2)").evaluate_all(
        "all => all.forEach(one => one.textContent = '100.0')"
    )
    face = page.locator(".faces > li").first
    assert face.evaluate("face => face.scrollWidth <= face.clientWidth && face.clientWidth < 390 - 2 * 16")
