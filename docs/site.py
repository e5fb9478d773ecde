"""What MkDocs cannot know of these pages (`mkdocs.yml` names this file as its hook).

Texts that lie outside `docs/` become pages too, the links between the two are turned to where the pages are,
and a page that the navigation does not name is put at its end, so that none is lost.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
}
"""Texts outside `docs/`, by their page."""

FOLDERS = {"docs/decisions": "decisions/0001-use-cases-are-plain-functions.md"}
"""Folders that texts point to, by the page that is shown for them."""

_SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the texts that lie outside `docs/`, and name in the navigation what it does not name."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    navigation = config.nav
    if not isinstance(navigation, list):
        raise TypeError("mkdocs.yml has no navigation")
    named = set(_pages_of(navigation))
    others = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri not in named)
    decisions = [page for page in others if page.startswith("decisions/")]
    more = [page for page in others if page not in decisions]
    navigation.extend({name: pages} for name, pages in (("More", more), ("Decisions", decisions)) if pages)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn the links of a page's source to where the pages are; what is no page is named, not linked."""
    here = page.file.src_uri
    source = _SOURCES.get(here, f"docs/{here}")

    def turned(link: re.Match[str]) -> str:
        image, text, target, anchor = link.groups()
        if "://" in target or target.startswith("mailto:"):
            return link[0]
        place = normpath(join(dirname(source), target))
        if not (ROOT / place).exists():
            return link[0]  # strict mode says so
        inside = PAGES.get(place) or FOLDERS.get(place) or place.removeprefix("docs/")
        if inside == place:  # in the repository, but not on the site
            return f"{text} (`{place}`)"
        return f"{image}[{text}]({relpath(inside, dirname(here) or '.')}{anchor or ''})"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _LINK.sub(turned, part) for part in parts)


def _pages_of(navigation: object) -> list[str]:
    """Every page that a navigation names."""
    if isinstance(navigation, str):
        return [navigation]
    if isinstance(navigation, dict):
        return [page for entry in navigation.values() for page in _pages_of(entry)]
    if isinstance(navigation, list):
        return [page for entry in navigation for page in _pages_of(entry)]
    return []
