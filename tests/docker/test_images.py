"""What is in the images and what is not."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nofrost

# Where a user other than root can write while the root is not read-only; all else belongs to root.
WRITABLE = {"/gcs", "/minio", "/s3", "/run/lock", "/tmp", "/var/tmp"}
LOCKS = Path(__file__).parents[2] / "docker" / "locks"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(params=["stage", "train"])
def layers(request: pytest.FixtureRequest, engine: Any, images: dict[str, str]) -> list[dict[str, Path]]:
    """Every layer of an image, those of its base among them: the files it adds by their paths in the image."""
    driver = engine.images.get(images[request.param]).attrs.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    folders = [Path(data["UpperDir"]), *map(Path, data["LowerDir"].split(":"))] if "UpperDir" in data else []
    if not folders or not all(os.access(folder, os.R_OK) for folder in folders):
        pytest.skip(
            "the engine's layers cannot be read here: that takes root and an engine with overlay2 on this machine"
        )
    return [
        {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
        for folder in folders
    ]


def test_the_builders_certificates_are_in_no_layer(layers: list[dict[str, Path]]) -> None:
    assert len([layer for layer in layers if BUNDLE in layer]) == 1, "only the base brings certificates"


def test_no_layer_holds_what_only_the_build_needed(layers: list[dict[str, Path]]) -> None:
    leftovers = re.compile(r"(root/\.cache|tmp|run/(secrets|dist)|var/lib/apt/lists|etc/pip\.conf|src|dist)(/|$)")
    files = {name for layer in layers for name, path in layer.items() if leftovers.match(name) and path.stat().st_size}
    assert files == set()


def test_both_images_share_all_but_what_differs(engine: Any, images: dict[str, str]) -> None:
    stage, train = (engine.images.get(images[name]).attrs["RootFS"]["Layers"] for name in ("stage", "train"))
    *dependencies, _package = train
    assert stage[: len(dependencies)] == dependencies


def test_an_image_has_the_lock_file_that_it_was_built_from(run: Callable[..., Any], images: dict[str, str]) -> None:
    for name, image in images.items():
        known = {path.read_text() for path in LOCKS.glob(f"{name}-*.txt")}
        assert run(image, "cat", "/opt/venv/lock.txt").output in known


def test_history_and_environment_have_no_settings_of_the_builder(engine: Any, image: str) -> None:
    built = engine.images.get(image)
    text = json.dumps(built.history()) + json.dumps(built.attrs["Config"]["Env"])
    values = {value for name, value in os.environ.items() if re.search("PROXY|INDEX|TOKEN|SECRET|PASSWORD", name)}
    assert [value for value in values if len(value) > 3 and value in text] == []
    assert not [entry for entry in built.attrs["Config"]["Env"] if entry.startswith("PIP_")]


def test_labels_name_the_image_and_its_source(engine: Any, images: dict[str, str]) -> None:
    for name, image in images.items():
        labels = engine.images.get(image).labels
        known = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
        assert known["title"] == f"nofrost-{name}"
        assert known["version"] == nofrost.__version__
        assert known["licenses"] == "Apache-2.0"
        assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", known["revision"])
        assert all(known[key] for key in ("description", "source", "base.name"))


def test_no_file_is_setuid_or_setgid(run: Callable[..., Any], image: str) -> None:
    ended = run(image, "find", "/", "-xdev", "-perm", "/6000", "-type", "f", user="0", cap_drop=[])
    assert (ended.code, ended.output) == (0, "")


def test_only_the_intended_folders_are_writable(run: Callable[..., Any], image: str) -> None:
    listing = "find / -xdev -writable ! -type l 2>/dev/null"
    ended = run(image, "sh", "-c", listing, read_only=False, tmpfs={})
    assert set(ended.output.split()) == WRITABLE


def test_the_bytecode_is_in_the_image(run: Callable[..., Any], image: str) -> None:
    code = (
        "import importlib.util, nofrost, torch, boto3, obstore\n"
        "for module in (nofrost, torch, boto3, obstore):\n"
        "    print(importlib.util.cache_from_source(module.__file__))"
    )
    paths = run(image, "python", "-c", code).output.split()
    assert len(paths) == 4
    assert run(image, "ls", *paths).code == 0


def test_every_module_but_that_of_promotion_can_be_imported(run: Callable[..., Any], image: str) -> None:
    """Promotion, which needs DVC, is done in a checkout by a person who reviews it."""
    code = (
        "import importlib, pkgutil, nofrost\n"
        "for module in pkgutil.walk_packages(nofrost.__path__, 'nofrost.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        try: importlib.import_module(module.name)\n"
        "        except ModuleNotFoundError as error: print(module.name, error.name)"
    )
    ended = run(image, "python", "-c", code)
    assert (ended.code, ended.output) == (0, "nofrost.promotion.checkout dvc\n")


def test_the_training_image_has_neither_kubeflow_nor_dvc(run: Callable[..., Any], images: dict[str, str]) -> None:
    code = "import importlib.util as i; print([n for n in ('kfp', 'kubernetes', 'dvc') if i.find_spec(n)])"
    assert run(images["train"], "python", "-c", code).output == "[]\n"


def test_the_stage_image_runs_components(run: Callable[..., Any], images: dict[str, str]) -> None:
    imports = run(images["stage"], "python", "-c", "import kfp, kfp.kubernetes, nofrost.store")
    assert (imports.code, imports.output) == (0, "")
    executor = run(images["stage"], "python3", "-m", "kfp.dsl.executor_main", "--help")
    assert executor.code == 0
