"""The recipes of docs/architecture.md for adding things: each is taken from the page and followed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml

from nofrost.attacks import create_attack
from nofrost.config import AttackSpec, load_recipe, load_study, load_suite
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
        **yaml.safe_load("name: s\ntitle: t\ndataset: {}\nsuites: {adversarial: adversarial-quick, ood: ood-quick}")
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
    from nofrost.train.objectives import registry

    monkeypatch.setattr(registry.OBJECTIVES, "classes", dict(registry.OBJECTIVES.classes))
    names = {name: getattr(objectives, name) for name in ("register", "Objective", "Losses", "count_correct")}
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


def test_a_source_of_images_is_a_function_in_a_table() -> None:
    from nofrost.prepare.sources import SOURCES

    assert set(SOURCES) == {"digits", "cifar10", "folder", "npz", "idx"}
    folder = Path(__file__).parent.parent / "components" / "nofrost" / "prepare" / "sources"
    assert all((folder / f"{name}.py").is_file() for name in SOURCES)
