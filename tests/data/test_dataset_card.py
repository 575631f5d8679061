from __future__ import annotations

import re
from pathlib import Path

import pytest
import torchvision.datasets as torchvision

from nofrost.data.dataset_card import DatasetCard, is_cropped, list_cards, load_card
from nofrost.errors import UserError
from nofrost.prepare import list_sources
from nofrost.prepare.sources import SOURCES

ROOT = Path(__file__).parents[2]
# sources of a user's own images, which no card describes
OWN = {"folder", "idx", "npz", "webdataset"}

cards = pytest.mark.parametrize("name", list_cards())


def test_every_source_of_published_images_has_a_card_of_its_name() -> None:
    assert set(list_sources()) - OWN <= set(list_cards())


@cards
def test_a_card_is_whole(name: str) -> None:
    card = load_card(name)
    assert card.source is None or card.source in list_sources()
    assert card.test_of is None or load_card(card.test_of).kind == "dataset"
    assert (card.test_of is not None) == (card.kind == "test set")
    assert card.source is None or SOURCES.classes[card.source].test_only == (card.kind == "test set")
    assert card.images
    assert all(count > 0 for count in card.images.values())
    assert re.match(r"https?://", card.url)
    for file in card.files:
        assert file.checksum or card.source is None or "no checksums" in str(card.quirks), (
            f"{name}: {file.name} has no checksum"
        )
    for text in (card.about, *card.quirks):
        assert text.endswith((".", ")"))
        assert len(text) < 260
    names = [file.name for file in card.files]
    assert len(set(names)) == len(names)


def test_an_unknown_card_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="unknown dataset card 'cifar': did you mean 'cifar10'"):
        load_card("cifar")


def test_names_of_classes_must_be_those_of_all_classes() -> None:
    values = load_card("mnist").as_json()
    with pytest.raises(ValueError, match="class_names has 1 names for 10 classes"):
        DatasetCard.model_validate({**values, "class_names": ["0"]})


def known(card: DatasetCard) -> dict[str, str | None]:
    """MD5 of each file of a card and of its members."""
    return {each.name: each.md5 for file in card.files for each in (file, *file.members)}


def test_checksums_and_addresses_are_those_torchvision_knows() -> None:
    for name, cifar in (("cifar10", torchvision.CIFAR10), ("cifar100", torchvision.CIFAR100)):
        members = [*cifar.train_list, *cifar.test_list, (cifar.meta["filename"], cifar.meta["md5"])]
        assert known(load_card(name)) == {cifar.filename: cifar.tgz_md5, **dict(members)}
        assert load_card(name).files[0].url == cifar.url
        assert load_card(name).files[0].folder == cifar.base_folder
    for name, mnist in (("mnist", torchvision.MNIST), ("fashion-mnist", torchvision.FashionMNIST)):
        card = load_card(name)
        assert {file.name: file.md5 for file in card.files} == dict(mnist.resources)
        assert {file.url for file in card.files} == {f"{mnist.mirrors[0]}{file}" for file, _ in mnist.resources}
    assert [each.lower() for each in torchvision.FashionMNIST.classes] == list(load_card("fashion-mnist").class_names)
    assert {file.name: (file.url, file.md5) for file in load_card("svhn").files} == {
        file: (url, md5) for url, file, md5 in (torchvision.SVHN.split_list[split] for split in ("train", "test"))
    }
    stl, archive = torchvision.STL10, load_card("stl10").files[0]
    assert (archive.name, archive.md5, archive.url, archive.folder) == (
        stl.filename,
        stl.tgz_md5,
        stl.url,
        stl.base_folder,
    )
    published = dict([*stl.train_list, *stl.test_list])
    assert {member.name: member.md5 for member in archive.members}.items() <= {
        **published,
        "train_y.bin": published["train_y.bin"],
    }.items()


def test_the_documentation_has_a_row_for_each_card() -> None:
    rows = ["| name | images | classes | pixels | licence |", "|---|---|---|---|---|"]
    for name in list_cards():
        card = load_card(name)
        shown = f"`{name}`" if card.source else name
        rows += [f"| [{shown}]({card.url}) | {card.counts()} | {card.classes} | {card.pixels()} | {card.licence} |"]
    page = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert re.findall(r"^\|.*\|$", page, re.MULTILINE) == rows


def test_sets_that_are_published_cropped_are_known_by_their_cards() -> None:
    cropped = [name for name in list_cards() if is_cropped(name)]
    assert cropped == ["cue-conflict", "imagenet-9", "imagenet-c"]
