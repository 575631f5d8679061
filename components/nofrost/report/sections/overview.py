"""The head of the report: the main conclusions, the limits of the data, and the facts of the study."""

from nofrost.config import cite
from nofrost.report import cells, text
from nofrost.report.compare import best_recipe
from nofrost.report.document import Facts, KeyPoints, Paragraph, Section
from nofrost.report.runs import CLEAN, WORST_CASE, Collected, RecipeRuns
from nofrost.report.sections.training import has_overfitted
from nofrost.statistics import wilson_interval

SHOWN_CLASSES = 12
CHECKSUM = "sha256:"


def overview(collected: Collected) -> Section:
    """Return the head of the report."""
    callout = Paragraph(" ".join(_limits(collected)), callout="What these data can and cannot show")
    return Section(
        "overview", "Overview", "Overview", [KeyPoints(_key_points(collected)), callout, Facts(_facts(collected))]
    )


def _facts(collected: Collected) -> list[tuple[str, str]]:
    manifest, study = collected.manifest, collected.study
    suite = study.suites.adversarial
    counts = [
        f"{text.count(split.count)} {'training' if name == 'train' else name}"
        for name, split in manifest.splits.items()
    ]
    samples = sorted({run.adversarial.samples for run in collected.runs})
    height, width = manifest.image_size
    colours = {1: "grey levels", 3: "RGB"}.get(manifest.channels, f"{manifest.channels} channels")
    return [
        ("Dataset", f"{manifest.name}: {text.listed(counts)} images"),
        ("Images", f"{width} × {height} pixels, {colours}"),
        *_views(collected),
        ("Classes", _classes(manifest.classes)),
        ("Provenance", _provenance(manifest.provenance)),
        ("Licence", manifest.licence or "not stated"),
        ("Seeds", f"{text.listed(study.runs.seed)} (one training for each recipe and seed)"),
        ("Attacked", f"{' or '.join(map(text.count, samples))} test images within {cells.threat(collected)}"),
        ("Suite", f"{suite.title}: {cite(suite.citation)}"),
        ("Protocol", f"{suite.protocol}: {text.PROTOCOLS[suite.protocol]}"),
        ("Out of distribution", f"{study.suites.ood.title}: {cite(study.suites.ood.citation)}"),
        ("Trained on", text.listed(sorted({run.timing.device for run in collected.runs}))),
    ]


def _views(collected: Collected) -> list[tuple[str, str]]:
    """Return how images were resized and cropped, if they were."""
    views = {suite: text.view(view) for suite, view in collected.views.items()}
    if not any(collected.views.values()):
        return []
    distinct = set(views.values())
    told = distinct.pop() if len(distinct) == 1 else "; ".join(f"{suite}: {view}" for suite, view in views.items())
    return [("Evaluated", told)]


def _provenance(provenance: dict[str, str]) -> str:
    """Return where the images came from; the checksums of the source are in the section Record."""
    known = {key: value for key, value in provenance.items() if not value.startswith(CHECKSUM)}
    return "; ".join(value if key == "origin" else f"{key}: {value}" for key, value in known.items()) or "not stated"


def _classes(names: tuple[str, ...]) -> str:
    if len(names) <= SHOWN_CLASSES:
        return f"{len(names)}: {', '.join(names)}"
    return f"{text.count(len(names))}: {', '.join(names[:SHOWN_CLASSES])}, …"


def _key_points(collected: Collected) -> list[str]:
    attacks = text.listed(collected.study.suites.adversarial.attacks)
    sentences = [
        _leader(collected, CLEAN, "On clean test images"),
        _leader(collected, WORST_CASE, f"Under the worst case of {attacks} within {cells.threat(collected)}"),
        text.UPPER_BOUND,
    ]
    raised = [
        f"{recipe.name} ({cells.alarm_cell(alarms).text})"
        for recipe in collected.recipes
        if any(alarms := [alarm for run in recipe.runs for alarm in run.adversarial.alarms if alarm.status != "pass"])
    ]
    if raised:
        sentences.append(
            f"Alarms were raised for {text.listed(raised)}: read them before trusting their robust accuracies."
        )
    else:
        sentences.append("No alarm for gradient masking or a weak attack was raised.")
    overfitted = [recipe.name for recipe in collected.recipes if has_overfitted(recipe)]
    if overfitted:
        sentences.append(f"Training overfitted to its adversary in {text.listed(overfitted)}: see Training.")
    return sentences


def _leader(collected: Collected, condition: str, where: str) -> str:
    decimals = cells.digits(collected)

    def accuracy(recipe: RecipeRuns) -> str:
        doubt = cells.doubt(recipe.runs, condition)
        return text.with_sign(cells.accuracy(recipe, condition).value, decimals) + (f" ({doubt})" if doubt else "")

    ranked = sorted(collected.recipes, key=lambda recipe: -cells.accuracy(recipe, condition).value)
    first = f"{where}, {ranked[0].name} is right on {accuracy(ranked[0])}"
    if len(ranked) == 1:
        return f"{first}."
    if not collected.same_images:
        verdict = "the recipes were attacked on different images, so no test compares them"
    elif best_recipe(collected, condition) == ranked[0].name:
        verdict = "the paired test separates it from every other recipe"
    else:
        verdict = "the paired test does not separate it from every other recipe"
    return f"{first}, next is {ranked[1].name} with {accuracy(ranked[1])}; {verdict}."


def _limits(collected: Collected) -> list[str]:
    sentences = [collected.study.note.strip()] if collected.study.note.strip() else []
    samples = min(run.adversarial.samples for run in collected.runs)
    low, high = wilson_interval(samples // 2, samples)
    sentences.append(
        f"With {text.plural(samples, 'test image')} a 95 % interval reaches up to ±{text.percent((high - low) / 2)} "
        "points: a smaller difference between two accuracies may be chance, unless the paired test separates them."
    )
    if len(collected.study.runs.seed) == 1:
        sentences.append("Each recipe was trained once, so the spread between trainings is not known.")
    return sentences
