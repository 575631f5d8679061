"""The recipes of docs/architecture.md for adding things: each is taken from the page and followed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nofrost.attacks import create_attack
from nofrost.config import AttackSpec, DatasetSpec, load_recipe, load_study, load_suite
from nofrost.data import read_manifest
from nofrost.errors import UserError
from nofrost.models import create_model

PAGE = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")


def snippet(heading: str) -> str:
    """Return the first block of code below a heading of the page."""
    section = PAGE.split(f"### ... {heading}\n", 1)[1].split("\n#", 1)[0]
    found = re.search(r"```\w+\n(.*?)```", section, re.DOTALL)
    assert found, f"the section on {heading} shows no code"
    return found.group(1)


def test_a_recipe_is_a_yaml_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(snippet("a recipe"))
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert (recipe.objective.setting("adversarial_weight"), str(recipe.threat.eps)) == (1.0, "4/255")
    study = {
        **yaml.safe_load(
            "name: s\ntitle: t\ndataset: {}\nsuites: {adversarial: {quick: adversarial-quick}, ood: {quick: ood-quick}}"
        )
    }
    study["recipes"] = {"mine": str(tmp_path / "mine.yaml")}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert load_study(tmp_path / "study.yaml").recipes["mine"] == recipe


def test_a_suite_is_a_yaml_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(snippet("a suite"))
    suite = load_suite(tmp_path / "mine.yaml")
    assert suite.kind == "adversarial"
    assert suite.attacks["pgd-200"].setting("steps") == 200


def test_an_objective_is_a_class_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from nofrost.registry import configurable
    from nofrost.train import objectives
    from nofrost.train.objectives import base

    monkeypatch.setattr(base.OBJECTIVES, "classes", dict(base.OBJECTIVES.classes))
    names = {name: getattr(objectives, name) for name in ("register", "Objective", "Losses")}
    names |= {"configurable": configurable, "__name__": "page"}
    exec(compile(snippet("an objective"), "docs/architecture.md", "exec"), names)
    model = create_model("resnet8", normaliser="nf", num_classes=3, image_size=16, channels=1)
    batch = objectives.Batch(torch.rand(4, 1, 16, 16), torch.tensor([0, 1, 2, 0]), torch.arange(4))
    adversary = objectives.Adversary(AttackSpec(), "linf", 8 / 255, 0)
    (losses,) = objectives.create_objective("clean-twice").updates(model, batch, adversary, {})
    plain = torch.nn.functional.cross_entropy(model(batch.images), batch.labels)
    assert losses.loss.item() == pytest.approx(2 * plain.item(), rel=1e-5)


def test_an_architecture_is_a_registered_function(monkeypatch: pytest.MonkeyPatch) -> None:
    from nofrost.models.architectures import registry

    monkeypatch.setattr(registry, "_FAMILIES", list(registry._FAMILIES))
    names = {"register": registry.register, "nn": torch.nn, "__name__": "page"}
    exec(compile(snippet("an architecture"), "docs/architecture.md", "exec"), names)
    model = create_model("two-layers", normaliser="gn", num_classes=3, image_size=8, channels=1)
    assert any(isinstance(module, torch.nn.GroupNorm) for module in model.modules())
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 3)


def test_an_attack_is_a_class_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from nofrost.attacks import base as registry
    from nofrost.attacks.base import Attack, register
    from nofrost.config.base import Share
    from nofrost.registry import configurable

    monkeypatch.setattr(registry.ATTACKS, "classes", dict(registry.ATTACKS.classes))
    names = {"register": register, "configurable": configurable, "Attack": Attack, "Share": Share, "__name__": "page"}
    exec(compile(snippet("an attack"), "docs/architecture.md", "exec", dont_inherit=True), names)
    images = torch.rand(4, 1, 8, 8)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    adversarial = create_attack("sign-noise", eps="8/255")(model, images, torch.tensor([0, 1, 2, 0]))
    assert float((adversarial - images).abs().max()) <= 8 / 255 + 1e-6
    assert not torch.equal(adversarial, images)
    assert registry.attack_class("sign-noise").access == "outputs"
    with pytest.raises(UserError, match="attack 'sign-noise': share: input should be less than or equal to 1, got 2"):
        create_attack("sign-noise", eps="8/255", share=2)


def test_a_dataset_source_is_a_registered_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from nofrost import prepare, tasks
    from nofrost.cli import main
    from nofrost.prepare import sources
    from nofrost.prepare.sources.in_memory import array_part

    monkeypatch.setattr(sources.SOURCES, "classes", dict(sources.SOURCES.classes))
    names = {"register": sources.register, "Source": sources.Source, "SourceData": sources.SourceData}
    names |= {"array_part": array_part, "np": np, "__name__": "page"}
    exec(compile(snippet("a dataset source"), "docs/architecture.md", "exec"), names)
    # from the command line, with an option of its own
    arguments = ["prepare", "--source", "stripes", "--set", "count=60", "--image-size", "16"]
    monkeypatch.setattr("sys.argv", ["nofrost", *arguments, "--out", str(tmp_path / "dataset")])
    main()
    manifest = read_manifest(tmp_path / "dataset")
    assert (manifest.classes, manifest.config["count"]) == (("across", "down"), 60)
    assert sum(split.count for split in manifest.splits.values()) == 60
    # in a study, where the source itself says what is allowed
    study = tasks.check_study(load_study("digits", ["dataset.source=stripes", "dataset.count=40"]))
    assert not prepare.resolve_source(study.dataset).needs_path
    with pytest.raises(UserError, match=r"unknown key 'dataset.cuont': did you mean 'count'\?"):
        tasks.check_study(load_study("digits", ["dataset.source=stripes", "dataset.cuont=40"]))


def test_an_augmentation_method_is_a_registered_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from nofrost import augment, prepare, tasks
    from nofrost.augment import base
    from nofrost.data import checksum, read_augmentation_set, read_split

    monkeypatch.setattr(base.METHODS, "classes", dict(base.METHODS.classes))
    names = {
        "register": base.register,
        "Method": base.Method,
        "Augmenter": base.Augmenter,
        "np": np,
        "__name__": "page",
    }
    exec(compile(snippet("an augmentation method"), "docs/architecture.md", "exec"), names)
    overrides = ["augmentation.methods=[inverted]", "augmentation.inverted.level=128"]
    overrides += ["recipes.nofrost.views.augmentation_sets=[inverted]"]
    study = tasks.check_study(load_study("digits", overrides))
    prepare.run(DatasetSpec(limit=60), tmp_path / "dataset")
    augment.run(tmp_path / "dataset", study.augmentation, tmp_path / "sets")
    images = read_augmentation_set(tmp_path / "sets", "inverted", dataset=checksum(tmp_path / "dataset"))
    originals = read_split(tmp_path / "dataset", "train").images
    assert (images == np.where(originals >= 128, 255 - originals, originals)).all()
    # an objective names the set as one of its views
    from nofrost.train.objectives import create_objective

    assert create_objective("multi-view", views=("clean", "inverted")).augmented_views == ("inverted",)
