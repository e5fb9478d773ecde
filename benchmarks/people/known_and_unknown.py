"""How often persons of the registry are known again, and strangers said to be unknown, as JSON.

    python benchmarks/people/known_and_unknown.py PACK IMAGES

IMAGES: pictures named NAME_0001.jpg, as LFW's are. Of the names with several pictures 50 are drawn: each is
enrolled from all pictures but the last, and verified by that one. Strangers are 500 of the other names, by
their first picture. All by the settings' defaults, several draws one after the other; each draw has a
registry of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from facerec.bootstrap import open_service
from facerec.config import read_settings
from facerec.domain import LocalImage
from facerec.engine.base import Engine
from facerec.engine.packs.loading import open_engine
from facerec.errors import FacerecError
from facerec.services.registry.service import RegistryService

PERSONS, STRANGERS = 50, 500


def pictures_by_name(images: Path) -> dict[str, list[Path]]:
    """The pictures of each name, in their order."""
    found: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(images.glob("*.jpg")):
        found[file.name.rsplit("_", 1)[0]].append(file)
    return dict(found)


def verdict(registry: RegistryService, picture: Path, name: str | None) -> str:
    """What verifying a picture says of the person `name`, None for a stranger."""
    try:
        answer = registry.verify(LocalImage(picture))
    except FacerecError as error:
        return type(error).__name__
    if answer.person_id is None:
        return "unknown"
    return "right" if answer.person_id == name else "wrong"


def draw(engine: Engine, images: dict[str, list[Path]], seed: int) -> dict[str, Any]:
    """One registry: how many pictures were taken, and the verdicts on its persons and on strangers."""
    chance = random.Random(seed)
    several = sorted(name for name, files in images.items() if len(files) > 1)
    enrolled = chance.sample(several, PERSONS)
    others = sorted(images.keys() - set(enrolled))
    strangers = chance.sample(others, min(STRANGERS, len(others)))
    taken: Counter[str] = Counter()
    persons: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(data_dir=Path(folder))
        with open_service(settings, engine=engine) as service:
            registry = service.registry
            for name in enrolled:
                files = images[name][:-1][: settings.max_images_per_registration]
                enrolment = registry.register(name, [LocalImage(file) for file in files])
                for image in enrolment.images:
                    taken["taken" if image.refusal is None else type(image.refusal).__name__] += 1
                if enrolment.person is None:
                    persons["not enrolled"] += 1
                else:
                    persons[verdict(registry, images[name][-1], name)] += 1
            met = Counter(verdict(registry, images[name][0], None) for name in strangers)
    return {"pictures": dict(taken), "persons": dict(persons), "strangers": dict(met)}


def main() -> None:
    """Read the command line, measure, print the figures."""
    parser = argparse.ArgumentParser(description="Known persons and unknown strangers.")
    parser.add_argument("pack")
    parser.add_argument("images", type=Path)
    parser.add_argument("--draws", type=int, default=4)
    chosen = parser.parse_args()
    engine = open_engine(read_settings(model_path=chosen.pack))
    images = pictures_by_name(chosen.images)
    total: dict[str, Counter[str]] = {name: Counter() for name in ("pictures", "persons", "strangers")}
    for seed in range(chosen.draws):
        for name, counts in draw(engine, images, seed).items():
            total[name].update(counts)
    pack = engine.contract.pack
    engine.close()
    figures = {name: dict(sorted(counts.items())) for name, counts in total.items()}
    print(json.dumps({"pack": pack, "draws": chosen.draws, **figures}))


if __name__ == "__main__":
    main()
