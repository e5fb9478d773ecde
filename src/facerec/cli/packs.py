"""`facerec packs`: the model packs that recognition can run on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from facerec.cli.collections import Yes
from facerec.cli.output import AsJson, downloading, note, print_json, print_table, say
from facerec.cli.quantize import quantize
from facerec.config import Settings, read_settings
from facerec.engine.packs import dlib
from facerec.engine.packs.additions import KNOWN_ADDITIONS, known_addition
from facerec.engine.packs.install import MANIFEST, Known, PackStore, verify_folder
from facerec.engine.packs.registry import BUILT_IN, KNOWN_PACKS, known_pack, manifest_text
from facerec.errors import NotFound, PackError

packs_app = typer.Typer(no_args_is_help=True, help="Pull, verify, quantise and remove model packs.")
packs_app.command()(quantize)

PackName = Annotated[str, typer.Argument(help="A name of `facerec packs list`.")]
AcceptLicense = Annotated[bool, typer.Option("--accept-license", help="Accept the licence of the weights.")]
PackOrFolder = Annotated[str, typer.Argument(help="A name of `facerec packs list`, or a pack's folder.")]

BUILT_IN_SUMMARY = "MMOD detector, ResNet of dlib: installed with pip, free for every use (CC0)"
MEGABYTE = 1_000_000


@packs_app.command("list")
def list_packs(as_json: AsJson = False) -> None:
    """List the packs that can be pulled, and those that are installed."""
    settings = read_settings()
    installed = _store(settings).names()
    rows: list[tuple[str, str, int | None, bool | None, str]] = [
        (BUILT_IN, "built in", None, True, BUILT_IN_SUMMARY)
    ]
    rows += [
        (
            pack.name,
            "installed" if pack.name in installed else "to pull",
            pack.download_size,
            pack.licence.commercial_use,
            pack.summary,
        )
        for pack in KNOWN_PACKS
    ]
    rows += [
        (
            addition.name,
            "to add",
            addition.download_size,
            addition.licence.commercial_use,
            f"{addition.summary} (facerec packs add)",
        )
        for addition in KNOWN_ADDITIONS
    ]
    known = {row[0] for row in rows}
    rows += [(name, "installed", None, None, "a folder of yours") for name in installed if name not in known]
    if as_json:
        keys = ("Name", "State", "DownloadBytes", "CommercialUse", "Summary")
        print_json(
            [{**dict(zip(keys, row, strict=True)), "InUse": row[0] == settings.model_path} for row in rows]
        )
        return
    print_table(
        ("pack", "state", "download", "commercial use", "what it is"),
        [
            (
                f"{name} *" if name == settings.model_path else name,
                state,
                f"{size / MEGABYTE:.0f} MB" if size else "",
                {True: "allowed", False: "not allowed", None: ""}[commercial],
                summary,
            )
            for name, state, size, commercial, summary in rows
        ],
    )
    say("* in use (MODEL_PATH)")


@packs_app.command()
def pull(
    name: PackName,
    accept_license: AcceptLicense = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Take the archive, or its files, from this folder or file; fetch nothing."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a pack: with a progress bar, resumed after a break, each file checked against its pinned SHA-256.

    FACEREC_PACK_MIRROR names an address or a folder to take the archives from instead of upstream.
    """
    settings = read_settings()
    if name == BUILT_IN:
        raise NotFound(f"{BUILT_IN} is built in: there is nothing to pull")
    pack = known_pack(name)
    accepted = _accept(pack, told=accept_license)
    if source is not None and not source.exists():
        raise NotFound(f"{source} does not exist")
    with downloading(pack.name) as progress:
        folder = _store(settings).pull(pack, accept_license=accepted, offline=source, progress=progress)
    if as_json:
        print_json({"Name": pack.name, "Folder": str(folder), "Licence": pack.licence.name})
    else:
        say(f"{pack.name} is in {folder}. Use it with MODEL_PATH={pack.name}.")


@packs_app.command()
def add(
    name: Annotated[str, typer.Argument(help="What to add; `facerec packs list` names it.")],
    to: Annotated[
        str | None, typer.Option(help="Pack or folder that gets it; default: the one in use (MODEL_PATH).")
    ] = None,
    accept_license: AcceptLicense = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Take the files from this folder; fetch nothing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add liveness networks to a pack: each file checked against its pinned SHA-256."""
    settings = read_settings()
    addition = known_addition(name)
    target = to or settings.model_path
    folder = _folder(settings, target)
    accepted = _accept(addition, told=accept_license)
    with downloading(name) as progress:
        _store(settings).add(addition, folder, accept_license=accepted, offline=source, progress=progress)
    if as_json:
        print_json({"Name": name, "Folder": str(folder), "Licence": addition.licence.name})
    else:
        say(f"{name} is in {folder}: the pack {target} judges liveness now.")


@packs_app.command()
def verify(name: PackOrFolder, as_json: AsJson = False) -> None:
    """Check a pack: every file there with its digest, and every key of its manifest understood."""
    folder = _folder(read_settings(), name)
    faults = (verify_folder(folder) if (folder / MANIFEST).exists() else []) or _misunderstood(folder)
    if as_json:
        print_json({"Name": name, "Folder": str(folder), "Faults": faults})
    elif faults:
        for fault in faults:
            say(fault)
        if any(pack.name == name for pack in KNOWN_PACKS):
            note(f"`facerec packs pull {name}` mends it.")
    else:
        say(f"{name}: every file is as it should be.")
    if faults:
        raise typer.Exit(1)


@packs_app.command()
def remove(name: PackName, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete an installed pack."""
    store = _store(read_settings())
    folder = store.folder_of(name)
    if not yes:
        typer.confirm(f"Delete {folder}?", abort=True, err=True)
    store.remove(name)
    if as_json:
        print_json({"Name": name, "Removed": True})
    else:
        say(f"Removed {folder}.")


@packs_app.command()
def show(name: PackOrFolder, as_json: AsJson = False) -> None:
    """Show a pack's manifest, licence, embedding contract and calibration."""
    settings = read_settings()
    try:
        folder = _folder(settings, name)
        if not (folder / MANIFEST).is_file():
            raise PackError(f"{folder} has no {MANIFEST} to show")
    except NotFound:
        # Not installed, but known: its manifest can be read before it is pulled.
        pack = known_pack(name)
        _show(pack.name, None, manifest_text(pack), None, as_json=as_json)
        return
    _show(name, folder, (folder / MANIFEST).read_text("utf-8"), _contract(folder), as_json=as_json)


def _show(name: str, folder: Path | None, manifest: str, contract: str | None, *, as_json: bool) -> None:
    import tomllib

    content = tomllib.loads(manifest)
    if as_json:
        print_json({"Name": name, "Folder": folder and str(folder), "EmbeddingContract": contract, **content})
        return
    licence = content["pack"]
    use = {True: "allowed", False: "not allowed", None: "not stated"}[licence.get("commercial_use")]
    print_table(
        ("", name),
        [
            ("folder", str(folder) if folder else "not installed"),
            ("licence", licence.get("licence", "not stated")),
            ("licence address", licence.get("licence_url", "")),
            ("commercial use", use),
            ("embedding contract", contract or "known once it is installed"),
            ("calibration", content["calibration"]["source"]),
        ],
    )
    say(manifest.rstrip())


def _misunderstood(folder: Path) -> list[str]:
    """What keeps a folder from being used as a pack, with a manifest or without; empty where nothing does."""
    from facerec.engine.packs.loading import pack_manifest
    from facerec.engine.runtime.activation_ranges import find_ranges

    try:
        manifest = pack_manifest(folder)
        for network in (manifest.detector.file, manifest.recognizer.file):
            find_ranges(network)
    except PackError as error:
        return [error.message]
    return []


def _contract(folder: Path) -> str:
    """Id of the embedding contract of the pack in a folder."""
    # The network's own file says how long an embedding is; the runtimes, slow to load, are not needed for it.
    import onnx

    from facerec.engine.packs.manifest import read_manifest

    manifest = read_manifest(folder)
    network = onnx.load(manifest.recognizer.file, load_external_data=False)
    dimension = network.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    return manifest.contract(int(dimension)).id


def _accept(pack: Known, *, told: bool) -> bool:
    """Show the licence; where the command did not say that it is accepted, ask a person, if there is one."""
    use = "allowed" if pack.licence.commercial_use else "NOT allowed"
    note(f"{pack.name} ({pack.download_size / MEGABYTE:.0f} MB) comes under: {pack.licence.name}")
    note(f"  {pack.licence.address}")
    note(f"  Commercial use: {use}")
    return told or (sys.stdin.isatty() and typer.confirm("Do you accept this licence?", err=True))


def _store(settings: Settings) -> PackStore:
    return PackStore(settings.packs_folder, mirror=settings.pack_mirror)


def _folder(settings: Settings, name: str) -> Path:
    """Folder of an installed pack by name, of the built-in pack, or the folder that `name` is itself."""
    if name == BUILT_IN:
        return dlib.prepare(settings.packs_folder)
    store = _store(settings)
    if name not in store.names() and Path(name).is_dir():
        return Path(name)
    return store.folder_of(name)
