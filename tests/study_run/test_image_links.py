"""Where the images of a study lie, and their links in its folder: what is a user's stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nofrost.config import Study, load_study
from nofrost.errors import UserError
from nofrost.study_run.image_links import image_places, link_images
from nofrost.tasks import check_study


@pytest.fixture(scope="module")
def nested() -> Study:
    """A study with images below those of another dataset: data/source and data/source/cifar10."""
    return check_study(load_study("galloway2019-text", size="small"))


@pytest.fixture
def user(tmp_path: Path) -> Iterator[Path]:
    """Folders of a user, who finds them as they were."""
    for name in ("mnist/raw/images", "mnist/labels", "cifar/batch", "c/noise/a"):
        (tmp_path / "user" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "user" / name).write_text(name)
    (tmp_path / "user/mnist/raw/circle").symlink_to(tmp_path / "user/mnist")
    before = sorted((tmp_path / "user").rglob("*"))
    yield tmp_path / "user"
    assert sorted((tmp_path / "user").rglob("*")) == before


def test_images_below_others_are_linked_beside_them(nested: Study, user: Path, tmp_path: Path) -> None:
    images = image_places(nested, {"mnist": user / "mnist", "cifar10": user / "cifar"}, None)
    for _ in range(2):
        link_images(tmp_path / "study", images, nested)
    source = tmp_path / "study/data/source"
    assert not source.is_symlink()
    assert (source / "raw/images").read_text() == "mnist/raw/images"
    assert (source / "cifar10").resolve() == user / "cifar"
    assert not (source / "raw/circle").exists()


def test_an_entry_of_the_outer_folder_is_taken_unless_a_place_is_named(
    nested: Study, user: Path, tmp_path: Path
) -> None:
    outer = tmp_path / "outer"
    (outer / "cifar10").mkdir(parents=True)
    for places in ({"mnist": outer}, {"": outer}):
        assert image_places(nested, places, None)["data/source/cifar10"] == outer / "cifar10"
    named = image_places(nested, {"mnist": outer, "cifar10": user / "cifar"}, None)
    link_images(tmp_path / "study", named, nested)
    assert (tmp_path / "study/data/source/cifar10").resolve() == user / "cifar"
    assert image_places(nested, {"": user}, None)["data/source/cifar10"] == user


def test_the_default_places_are_linked(nested: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/source/cifar10").mkdir(parents=True)
    (tmp_path / "data/source/labels").touch()
    link_images(tmp_path / "study", image_places(nested, {}, None), nested)
    assert (tmp_path / "study/data/source/labels").exists()
    assert (tmp_path / "study/data/source/cifar10").resolve() == tmp_path / "data/source/cifar10"


def test_a_folder_of_links_becomes_a_link_and_back(nested: Study, user: Path, tmp_path: Path) -> None:
    images = image_places(nested, {"mnist": user / "mnist", "cifar10": user / "cifar"}, None)
    source = tmp_path / "study/data/source"
    for _ in range(2):
        link_images(tmp_path / "study", images, nested)
        assert (source / "cifar10/batch").is_file()
        link_images(tmp_path / "study", {"data/source": user / "mnist"}, nested)
        assert source.resolve() == user / "mnist"


def test_a_test_set_has_a_place_of_its_own_whose_files_dvc_sees(user: Path, tmp_path: Path) -> None:
    study = check_study(load_study("galloway2019-table-4", size="small"))
    images = image_places(study, {"cifar10": user / "cifar", "cifar10-c": user / "c"}, None)
    assert set(images) == {"data/source", "data/source/cifar10-c"}
    link_images(tmp_path / "study", images, study)
    noise = tmp_path / "study/data/source/cifar10-c/noise"
    assert not noise.is_symlink()
    assert (noise / "a").read_text() == "c/noise/a"


def test_images_are_not_linked_through_a_link_or_outside(nested: Study, user: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "data").symlink_to(user)
    with pytest.raises(UserError, match="data is a link"):
        link_images(study, {"data/source": user / "cifar"}, nested)
    with pytest.raises(UserError, match="lies outside of its folder"):
        link_images(study, {"../source": user / "cifar"}, nested)
