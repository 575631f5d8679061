"""Fooling images: how much noise the models take for a class with confidence, and what it looks like."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.report import cells, text
from nofrost.report.compare import estimate
from nofrost.report.document import Block, Column, Paragraph, Picture, Pictures, Section, Table
from nofrost.report.runs import Attacked, AttackedRun, RecipeRuns
from nofrost.report.sections.examples import data_uri


def fooling(attacked: Attacked) -> Section | None:
    """Return the share of noise images that are taken for a class, and some of them; None where none were made."""
    shares = {recipe.name: [run.adversarial.fooling for run in recipe.runs] for recipe in attacked.recipes}
    first = shares[attacked.recipes[0].name][0]
    if first is None or not all(each for found in shares.values() for each in found):
        return None
    options, total = first.confidence.options, first.confident.total
    rows = []
    for recipe in attacked.recipes:
        found = [each for each in shares[recipe.name] if each]
        share = cells.estimate_cell(estimate([each.confident for each in found]), cells.digits(attacked))
        rows.append([cells.recipe_cell(recipe), share, cells.summary_cell([each.confidence for each in found])])
    columns = [
        Column("recipe", text=True),
        Column(f"confidence ≥ {options['confidence']:g}, %"),
        Column("mean confidence"),
    ]
    caption = (
        f"Of {total} images of uniform noise, each changed by {options['steps']} steps of {options['step_size']} along "
        f"the gradient's sign towards one class in turn; {cells.spread(attacked, '95 % interval over these images')}."
    )
    introduction = Paragraph(
        "Images that show nothing, and that a model takes for a class all the same (Nguyen et al. 2015). A model that "
        "is rarely sure of them is not thereby robust; one that is sure of all of them does not know what it does not "
        "know."
    )
    blocks: list[Block] = [introduction, Table(caption, columns, rows)]
    blocks += [_pictures(attacked, recipe) for recipe in attacked.recipes]
    return Section("fooling", "Fooling images", "Fooling images", blocks)


def _pictures(attacked: Attacked, recipe: RecipeRuns[AttackedRun]) -> Pictures:
    images, targets, confidence = _read(recipe.runs[0])
    names = [attacked.manifest.classes[int(target)] for target in targets[: len(images)]]
    pictures = [
        Picture(data_uri(image), f"noise taken for class {name}", [f"{text.percent(float(share), 0)} %"])
        for image, name, share in zip(images, names, confidence, strict=False)
    ]
    caption = f"{recipe.name}, seed {recipe.runs[0].seed}: the class aimed at, and its probability in the end."
    return Pictures(recipe.name, caption, [("made from noise", pictures)], names, "class", recipe.position)


def _read(run: AttackedRun) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    path = run.evaluation / "flags.npz"
    arrays = read_arrays(path)
    images, targets, confidence = (arrays.get(f"fooling/{name}") for name in ("images", "targets", "confidence"))
    if images is None or targets is None or confidence is None or images.ndim != 4 or images.dtype != np.uint8:
        raise UserError(f"{path} does not hold the fooling images of metrics.json: evaluate this run again")
    return images, targets, confidence
