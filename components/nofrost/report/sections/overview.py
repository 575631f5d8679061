"""The head of the report: the main conclusions, the limits of the data, and the facts of the study."""

from collections.abc import Sequence

from nofrost.config import cite
from nofrost.report import cells, text
from nofrost.report.compare import best_of, best_recipe, compare_on_corruptions, estimate_mean
from nofrost.report.document import Facts, KeyPoints, Paragraph, Section
from nofrost.report.protocol import protocol
from nofrost.report.runs import CLEAN, WORST_CASE, Attacked, AttackedRun, Collected, RecipeRuns, Shifted
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
    study = collected.study
    return [
        *(fact for part in collected.by_dataset for fact in _dataset_facts(part)),
        ("Seeds", f"{text.listed(study.runs.seed)} (one training for each recipe and seed)"),
        *(fact for attacked in collected.attacked for fact in _suite_facts(attacked)),
        *(
            ("Out of distribution", f"{shifted.title_of_suite}: {cite(shifted.suite.citation)}")
            for shifted in collected.shifted
        ),
        ("Trained on", text.listed(sorted({run.timing.device for run in collected.runs}))),
    ]


def _dataset_facts(collected: Collected) -> list[tuple[str, str]]:
    """Return the facts of one dataset; of several, which recipes are trained on it."""
    manifest = collected.manifest
    counts = [
        f"{text.count(split.count)} {'training' if name == 'train' else name}"
        for name, split in manifest.splits.items()
    ]
    height, width = manifest.image_size
    colours = {1: "grey levels", 3: "RGB"}.get(manifest.channels, f"{manifest.channels} channels")
    names = text.listed(recipe.name for recipe in collected.recipes if recipe.dataset)
    return [
        ("Dataset", f"{manifest.name}: {text.listed(counts)} images{f', for {names}' if names else ''}"),
        ("Images", f"{width} × {height} pixels, {colours}"),
        *_views(collected),
        ("Classes", _classes(manifest.classes)),
        ("Provenance", _provenance(manifest.provenance)),
        ("Licence", manifest.licence or "not stated"),
    ]


def _suite_facts(attacked: Attacked) -> list[tuple[str, str]]:
    suite, samples = attacked.suite, sorted({run.adversarial.samples for run in attacked.runs})
    return [
        ("Attacked", f"{' or '.join(map(text.count, samples))} test images within {cells.threat(attacked)}"),
        ("Suite", f"{attacked.title_of_suite}: {cite(suite.citation)}"),
        ("Protocol", protocol(suite)),
    ]


def _views(collected: Collected) -> list[tuple[str, str]]:
    """Return how images were resized and cropped, if they were."""
    used = {f"attacks{each.suffix}": each.view for each in collected.attacked}
    used |= {f"corruptions{each.suffix}": each.view for each in collected.shifted}
    if not any(used.values()):
        return []
    views = {suite: text.view(view) for suite, view in used.items()}
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
    sentences = [
        _leader(attacked, CLEAN, f"On clean test images{f' ({attacked.heading})' if collected.parts else ''}")
        for part in collected.by_dataset
        for attacked in part.attacked[:1]
    ]
    sentences += [_leader(attacked, WORST_CASE, _under_attacks(attacked)) for attacked in collected.attacked]
    if collected.attacked:
        sentences += [text.UPPER_BOUND, _alarms(collected)]
    else:
        sentences += [_leader_on_corruptions(shifted) for shifted in collected.shifted if shifted.first.ood.mean]
    overfitted = [recipe.name for recipe in collected.recipes if has_overfitted(recipe)]
    if overfitted:
        sentences.append(f"Training overfitted to its adversary in {text.listed(overfitted)}: see Training.")
    return sentences


def _under_attacks(attacked: Attacked) -> str:
    where = f"Under the worst case of {text.listed(attacked.suite.attacks)} within {cells.threat(attacked)}"
    return f"{where} ({attacked.heading})" if attacked.heading else where


def _alarms(collected: Collected) -> str:
    raised = []
    for attacked in collected.attacked:
        for recipe in attacked.recipes:
            alarms = [alarm for run in recipe.runs for alarm in run.adversarial.alarms if alarm.status != "pass"]
            if alarms:
                of_suite = f" of {attacked.heading}" if attacked.heading else ""
                raised.append(f"{recipe.name} ({cells.alarm_cell(alarms).text}{of_suite})")
    if raised:
        return f"Alarms were raised for {text.listed(raised)}: read them before trusting their robust accuracies."
    return "No alarm for gradient masking or a weak attack was raised."


def _leader(attacked: Attacked, condition: str, where: str) -> str:
    decimals = cells.digits(attacked)

    def accuracy(recipe: RecipeRuns[AttackedRun]) -> str:
        doubt = cells.doubt(recipe.runs, condition)
        return text.with_sign(cells.accuracy(recipe, condition).value, decimals) + (f" ({doubt})" if doubt else "")

    ranked = sorted(attacked.recipes, key=lambda recipe: -cells.accuracy(recipe, condition).value)
    values = [(recipe.name, accuracy(recipe)) for recipe in ranked[:2]]
    if not attacked.same_images:
        return _ranked(where, values, "the recipes were attacked on different images, so no test compares them")
    return _ranked(where, values, _verdict(best_recipe(attacked, condition) == ranked[0].name))


def _leader_on_corruptions(shifted: Shifted) -> str:
    decimals = cells.digits(shifted)
    means = {
        recipe.name: estimate_mean([mean for run in recipe.runs if (mean := run.ood.mean)]).value
        for recipe in shifted.recipes
    }
    ranked = sorted(means, key=lambda name: -means[name])
    values = [(name, text.with_sign(means[name], decimals)) for name in ranked[:2]]
    is_best = best_of(shifted.recipes, compare_on_corruptions(shifted)) == ranked[0]
    return _ranked(f"On corrupted test images{shifted.suffix}", values, _verdict(is_best))


def _ranked(where: str, values: Sequence[tuple[str, str]], verdict: str) -> str:
    """Return the sentence about the first of the recipes, or the first two, with their accuracies."""
    (first, accuracy), *others = values
    sentence = f"{where}, {first} is right on {accuracy}"
    return f"{sentence}, next is {others[0][0]} with {others[0][1]}; {verdict}." if others else f"{sentence}."


def _verdict(is_best: bool) -> str:
    return f"the paired test {'separates' if is_best else 'does not separate'} it from every other recipe"


def _samples(collected: Collected) -> list[int]:
    """Return the numbers of test images that the runs were attacked on, or without attacks evaluated on."""
    attacked = [run.adversarial.samples for each in collected.attacked for run in each.runs]
    return attacked or [run.ood.samples for each in collected.shifted for run in each.runs]


def _limits(collected: Collected) -> list[str]:
    sentences = [collected.study.note.strip()] if collected.study.note.strip() else []
    samples = min(_samples(collected))
    low, high = wilson_interval(samples // 2, samples)
    sentences.append(
        f"With {text.plural(samples, 'test image')} a 95 % interval reaches up to ±{text.percent((high - low) / 2)} "
        "points: a smaller difference between two accuracies may be chance, unless the paired test separates them."
    )
    if len(collected.study.runs.seed) == 1:
        sentences.append("Each recipe was trained once, so the spread between trainings is not known.")
    return sentences
