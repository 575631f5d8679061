"""The report says which recipes have trained on corruptions that they are evaluated on."""

from __future__ import annotations

import json
from collections.abc import Callable

from nofrost.report.collect import collect
from nofrost.report.document import Table
from nofrost.report.sections.corruptions import corruptions
from nofrost.report.sections.trained_corruptions import trained_corruptions
from tests.report.study_on_disk import Tree

TRAINED = (
    "augmentation.methods=[corruptions]",
    "recipes.st.objective={name: multi-view, views: [clean, corruptions]}",
    "recipes.st.views.augmentation_sets=[corruptions]",
)


def test_a_recipe_that_has_trained_on_corruptions_is_named(make_tree: Callable[..., Tree]) -> None:
    tree = make_tree("runs.recipe=[st, sat]", "suites.ood.corruptions=[contrast]", *TRAINED)
    metrics = {"images": 1293, "corruptions": {"mean_correlation": 0.9, "fog": 1, "contrast": 1292}}
    (tree.augmentation / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    collected = collect(tree.dataset, tree.augmentation, tree.runs, tree.study)
    sentence = "st trained on images with contrast, so these were not unseen."
    assert trained_corruptions(collected, ["contrast", "snow"]) == sentence
    unseen = "st trained on corrupted images too, but on none of these corruptions."
    assert trained_corruptions(collected, ["snow"]) == unseen
    section = corruptions(collected)
    assert section is not None
    assert next(sentence in block.caption for block in section.blocks if isinstance(block, Table))


def test_nothing_is_said_where_no_recipe_has(tree: Tree) -> None:
    collected = collect(tree.dataset, tree.augmentation, tree.runs, tree.study)
    assert trained_corruptions(collected, ["contrast"]) == ""
