"""Example images: before and after an attack, and from the augmentation sets."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.data import checksum, read_augmentation_set, read_split
from nofrost.data.arrays import read_arrays
from nofrost.data.augmentation_set import read_augmentation_manifest
from nofrost.errors import UserError
from nofrost.report import cells
from nofrost.report.cells import ICONS
from nofrost.report.document import Block, Paragraph, Picture, Pictures, Section
from nofrost.report.runs import Attacked, AttackedRun, Collected, RecipeRuns, Run, StudyRuns

# In pixels. Larger images are shown smaller, or a report on ImageNet would take tens of megabytes.
LARGEST_SIDE = 160


def data_uri(image: NDArray[Any], quality: int | None = None) -> str:
    """Return an image [H, W, C], uint8 or floats in [0, 1], as the data URI of a PNG, or of a JPEG of a `quality`.

    One channel is shown as grey levels, three as RGB; otherwise only the first channel is shown. An image larger than
    `LARGEST_SIDE` is reduced to every n-th pixel, which keeps the look of a perturbation.
    """
    from PIL import Image

    pixels = image if image.dtype == np.uint8 else np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    stride = -(-max(pixels.shape[:2]) // LARGEST_SIDE)
    pixels = pixels[::stride, ::stride]
    pixels = pixels if pixels.shape[2] == 3 else pixels[:, :, 0]
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if quality is None:
        picture.save(buffer, format="PNG", optimize=True)
    else:
        picture.save(buffer, format="JPEG", quality=quality)
    kind = "png" if quality is None else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def magnification(perturbations: NDArray[Any]) -> int:
    """Return the largest whole factor that keeps perturbations [N, H, W, C] within [-0.51, 0.51]; at least 1."""
    largest = float(np.abs(perturbations).max(initial=0.0))
    return max(1, int(0.51 / largest)) if largest > 0 else 1


def magnified(perturbation: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return a perturbation [H, W, C] as an image: mid grey where nothing was changed."""
    return np.clip(0.5 + factor * perturbation, 0, 1)


SHOWN = 8
_KEYS = {"images", "adversarial", "labels", "predictions", "adversarial_predictions", "attack"}
Arrays = dict[str, NDArray[Any]]


def examples(attacked: Attacked) -> Section | None:
    """Return attacked test images of every recipe's first run, or None when none were kept."""
    examples_by_recipe = [(recipe, _read(recipe.runs[0].evaluation / "examples.npz")) for recipe in attacked.recipes]
    kept = [(recipe, arrays) for recipe, arrays in examples_by_recipe if len(arrays["labels"])]
    if not kept:
        return None
    factor = min(magnification(arrays["adversarial"] - arrays["images"]) for _, arrays in kept)
    introduction = Paragraph(
        f"Test images before and after the attack, and the perturbation between them, magnified {factor} times around "
        f"mid grey. Below each image is the answer of the model: {ICONS['pass']} right, {ICONS['fail']} wrong. "
        "Pixels are not smoothed."
    )
    blocks: list[Block] = [introduction]
    blocks += [_pictures(attacked, recipe, arrays, factor) for recipe, arrays in kept]
    return Section("examples", "What the attack does", "Examples", blocks)


def _read(path: Path) -> Arrays:
    arrays = read_arrays(path)
    images = arrays.get("images")
    if not arrays.keys() >= _KEYS or images is None or images.ndim != 4 or images.shape != arrays["adversarial"].shape:
        raise UserError(f"{path} does not contain attacked examples (images [N, H, W, C]): evaluate this run again")
    return {key: array if key == "attack" else array[:SHOWN] for key, array in arrays.items()}


def _pictures(attacked: Attacked, recipe: RecipeRuns[AttackedRun], arrays: Arrays, factor: int) -> Pictures:
    labels = [_class(attacked, label) for label in arrays["labels"]]

    def answered(images: NDArray[Any], predictions: NDArray[Any], what: str) -> list[Picture]:
        pictures = []
        for image, prediction, label in zip(images, predictions, labels, strict=True):
            answer = _class(attacked, prediction)
            note = f"{answer} {ICONS['pass' if answer == label else 'fail']}"
            pictures.append(Picture(data_uri(image), f"{what} image of class {label}, answered {answer}", [note]))
        return pictures

    changes = arrays["adversarial"] - arrays["images"]
    rows = [
        ("clean", answered(arrays["images"], arrays["predictions"], "clean")),
        (
            f"perturbation ×\N{NO-BREAK SPACE}{factor}",
            [Picture(data_uri(magnified(change, factor)), f"perturbation × {factor}") for change in changes],
        ),
        ("adversarial", answered(arrays["adversarial"], arrays["adversarial_predictions"], "adversarial")),
    ]
    run = recipe.runs[0]
    caption = (
        f"{recipe.name}, seed {run.seed}: {len(labels)} of {run.adversarial.samples} test images of "
        f"{attacked.manifest.name} under {arrays['attack'].ravel()[0]} within {cells.threat(attacked)}."
    )
    return Pictures(recipe.name, caption, rows, labels, "label", recipe.position)


def _class(seen: StudyRuns[Run], index: Any) -> str:
    names = seen.manifest.classes
    return names[int(index)] if 0 <= int(index) < len(names) else str(int(index))


def augmentation(collected: Collected) -> Section | None:
    """Return training images beside their augmented versions, or None without augmentation sets."""
    if collected.augmentation is None:
        return None
    methods = read_augmentation_manifest(collected.augmentation).sha256
    if collected.study.datasets and not methods:
        return None
    sha256 = checksum(collected.dataset)
    split = read_split(collected.dataset, "train")
    labels, first = np.unique(np.asarray(split.labels), return_index=True)
    shown = first[:SHOWN]
    names = [_class(collected, label) for label in labels[:SHOWN]]
    rows = [("original", _plain(split.images[shown], names, "training image"))]
    for method in methods:
        images = read_augmentation_set(collected.augmentation, method, dataset=sha256)
        rows.append((method, _plain(images[shown], names, f"{method} of the training image")))
    users = [recipe.name for recipe in collected.recipes if recipe.recipe.views.augmentation_sets]
    use = f"trained on by {', '.join(users)}" if users else "no recipe of this study trains on them"
    caption = (
        f"The first training image of each of {len(names)} classes of {collected.manifest.name} and its augmented "
        f"versions; {use}."
    )
    pictures = Pictures("", caption, rows, names, "label")
    return Section("augmentation", "Augmentation sets", "Augmentation", [pictures])


def _plain(images: NDArray[Any], names: list[str], what: str) -> list[Picture]:
    return [Picture(data_uri(image), f"{what} of class {name}") for image, name in zip(images, names, strict=True)]
