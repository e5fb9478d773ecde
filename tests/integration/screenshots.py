"""Pictures of the console for docs/console.md: `make screenshots` writes docs/images/console/.

What they show is the public-domain portrait of `facerec demo`, in altered copies: no other photograph belongs
into the documentation.

The console's first font, Inter, has to be installed (Debian: fonts-inter), or all letters are others.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from browser import chromium
from PIL import Image, ImageEnhance, ImageOps
from serving import serving

from facerec.cli.demo import portrait

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "console"
MOST_BYTES = 150_000
DESKTOP, PHONE = (1280, 800), (390, 844)
PERSON = "eileen-collins"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture: which page, what is done there first, and how it is looked at."""

    name: str
    path: str
    act: Callable[[Page, Path], None] = lambda _page, _photos: None
    dark: bool = False
    size: tuple[int, int] = field(default=DESKTOP)


def analyse(page: Page, photos: Path) -> None:
    page.get_by_label("Look in").select_option("guests")
    page.set_input_files("main input[type=file]", photos / "launch.jpg")
    page.locator(".match").first.wait_for()


def compare(page: Page, photos: Path) -> None:
    page.set_input_files("input[aria-label='First photo']", photos / "portrait.jpg")
    page.locator(".photo").wait_for()
    page.set_input_files("input[aria-label='Second photo']", photos / "evening.jpg")
    page.locator(".verdict").wait_for()


def search(page: Page, photos: Path) -> None:
    page.get_by_label("Look in").select_option("albums:")
    page.set_input_files("main input[type=file]", photos / "portrait.jpg")
    page.locator(".found").wait_for()


def enrol(page: Page, _photos: Path) -> None:
    page.get_by_label("Person").fill("commander")
    page.get_by_role("button", name="Turn the camera on").click()
    page.get_by_role("button", name="Begin").click()
    page.get_by_label("A frame that was taken").first.wait_for()
    page.wait_for_timeout(1500)


def album(page: Page, photos: Path) -> None:
    page.set_input_files("input[aria-label='Photos to cut faces from']", sorted(photos.glob("*.jpg")))
    page.locator(".gallery canvas, .photos-of canvas").first.wait_for()
    page.wait_for_timeout(500)


def traffic(page: Page, _photos: Path) -> None:
    page.wait_for_timeout(16_000)  # the line of requests begins


def pictures(person: str) -> Iterator[Picture]:
    """All of them. person: the id of somebody of the album."""
    yield Picture(name="dashboard", path="", act=traffic)
    yield Picture(name="dashboard-dark", path="", act=traffic, dark=True)
    yield Picture(name="analyse", path="analyse", act=analyse)
    yield Picture(name="analyse-dark", path="analyse", act=analyse, dark=True)
    yield Picture(name="analyse-phone", path="analyse", act=analyse, size=PHONE)
    yield Picture(name="compare", path="compare", act=compare)
    yield Picture(name="search", path="search", act=search)
    yield Picture(name="collections", path="collections")
    yield Picture(name="collections-phone", path="collections", size=PHONE)
    yield Picture(name="collection", path="collections/guests")
    yield Picture(name="people", path="people")
    yield Picture(name="person", path=f"people/{PERSON}")
    yield Picture(name="audit", path="audit")  # before enrolment writes a line for each frame into it
    yield Picture(name="enrol", path="enrol", act=enrol)
    yield Picture(name="albums", path="albums")
    yield Picture(name="album", path="albums/launch", act=album)
    yield Picture(name="album-person", path=f"albums/launch/{person}", act=album)
    yield Picture(name="jobs", path="jobs")
    yield Picture(name="keys", path="keys")
    yield Picture(name="accuracy", path="accuracy")
    yield Picture(name="accuracy-dark", path="accuracy", dark=True)
    yield Picture(name="settings", path="settings")


def make_photos(folder: Path) -> None:
    """Altered copies of the portrait, as photographs of one day."""
    folder.mkdir()
    original = portrait()
    wide = ImageOps.pad(original, (960, 640), color=(34, 40, 52), centering=(0.35, 0.5))
    copies: Mapping[str, Image.Image] = {
        "portrait": original,
        "mirrored": ImageOps.mirror(original),
        "evening": ImageEnhance.Brightness(ImageOps.mirror(original)).enhance(0.7),
        "sunny": ImageEnhance.Color(original).enhance(1.3).rotate(-6, Image.Resampling.BICUBIC),
        "launch": wide,
        "close": original.crop((110, 0, 350, 260)).resize((480, 520), Image.Resampling.LANCZOS),
    }
    for name, copy in copies.items():
        copy.convert("RGB").save(folder / f"{name}.jpg", quality=92)
    frame = io.BytesIO()
    ImageOps.fit(original, (960, 720), centering=(0.5, 0.2)).convert("RGB").save(frame, "JPEG", quality=92)
    (folder / "camera.mjpeg").write_bytes(frame.getvalue() * 5)


def fill(api: httpx.Client, photos: Path) -> str:
    """Put something into a service; the id of somebody of the album."""

    def post(path: str, **options: Any) -> None:
        answer = api.post(path, **options)
        assert answer.is_success, answer.text

    def file(name: str) -> bytes:
        return (photos / f"{name}.jpg").read_bytes()

    for name in ("guests", "staff", "door-1"):
        post("/collections", json={"collection_id": name})
    for name in ("portrait", "mirrored", "sunny"):
        post(
            "/collections/guests/index-faces",
            files={"file": file(name)},
            data={"external_image_id": f"{name}.jpg"},
        )
    images = [("images", file(name)) for name in ("portrait", "evening", "sunny")]
    about = {"person_id": PERSON, "metadata": '{"role": "commander", "team": "STS-93"}'}
    post("/register", files=images, data=about)
    post("/albums", json={"album_id": "launch", "title": "The launch"})
    sent = [("files", (path.name, path.read_bytes())) for path in sorted(photos.glob("*.jpg"))]
    post("/albums/launch/uploads", files=sent)
    people: list[dict[str, str]] = []
    while not people:
        people = api.get("/albums/launch/people").json()["people"]
    named = api.patch(f"/albums/launch/people/{people[0]['person_id']}", json={"name": "Eileen"})
    assert named.is_success, named.text
    return people[0]["person_id"]


def take(browser: Browser, address: str, key: str, photos: Path, picture: Picture) -> None:
    """Take one picture, as a WebP of fewer than MOST_BYTES."""
    width, height = picture.size
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if picture.dark else "light"
    )
    page.add_init_script(f"sessionStorage.setItem('facerec.key', '{key}')")
    page.goto(f"{address}/console/#/{picture.path}")
    page.locator("main h1").wait_for()
    page.locator("main .skeleton").first.wait_for(state="detached")
    picture.act(page, photos)
    page.wait_for_timeout(300)
    target = FOLDER / f"{picture.name}.webp"
    with Image.open(io.BytesIO(page.screenshot())) as taken:
        taken.convert("RGB").save(target, "WEBP", quality=84, method=6)
    page.close()
    assert target.stat().st_size < MOST_BYTES, target


def main() -> None:
    """Take all pictures over a service with the default pack."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "photos"
        make_photos(photos)
        with serving(Path(temporary) / "data", model="dlib") as server:
            with httpx.Client(base_url=f"{server.url}/api/v1", timeout=120) as api:
                person = fill(api, photos)
                wishes = [("console", "admin"), ("gate", "read"), ("studio", "write")]
                headers: dict[str, str] = {}
                for label, scope in wishes:
                    made = api.post("/keys", json={"label": label, "scope": scope}, headers=headers).json()
                    headers = headers or {"X-API-Key": made["secret"]}
            with chromium(camera=str(photos / "camera.mjpeg")) as browser:
                for picture in pictures(person):
                    take(browser, server.url, headers["X-API-Key"], photos, picture)


if __name__ == "__main__":
    main()
