"""The report says which recipes have trained on corruptions that they are evaluated on."""

from __future__ import annotations

from collections.abc import Callable

from nofrost.report.collect import collect
from nofrost.report.document import Table
from nofrost.report.sections.corruptions import corruptions
from nofrost.report.sections.trained_corruptions import trained_corruptions
from tests.report.study_on_disk import Tree


def test_recipes_whose_training_records_corruptions_are_named(make_tree: Callable[..., Tree]) -> None:
    tree = make_tree("runs.recipe=[st, sat, mbnat]", "runs.seed=[0, 1]", "suites.ood.quick.corruptions=[contrast]")
    tree.change("st/seed-1/train/record.json", lambda record: record | {"corruptions": ["fog", "contrast"]})
    tree.change("mbnat/seed-0/train/record.json", lambda record: record | {"corruptions": ["fog"]})
    collected = collect(tree.dataset, tree.augmentation, tree.runs, tree.study)
    sentence = "st trained on images with contrast, so these were not unseen."
    others = "mbnat trained on corrupted images too, but on none of these corruptions."
    assert trained_corruptions(collected, ["contrast", "snow"]) == f"{sentence} {others}"
    both = "st and mbnat trained on corrupted images too, but on none of these corruptions."
    assert trained_corruptions(collected, ["snow"]) == both
    section = corruptions(collected.shifted[0])
    assert section is not None
    assert next(sentence in block.caption for block in section.blocks if isinstance(block, Table))


def test_nothing_is_said_where_no_recipe_has(tree: Tree) -> None:
    collected = collect(tree.dataset, tree.augmentation, tree.runs, tree.study)
    assert trained_corruptions(collected, ["contrast"]) == ""
