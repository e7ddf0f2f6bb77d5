"""What a student's report says: material in, a document out, written as HTML, PDF and Word."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from pathlib import Path

import jinja2

from labutils import quality
from labutils.config import TrainConfig
from labutils.course import lab, material, report_figures, report_formats, workcopy
from labutils.course.material import MODELS, Material, same_settings
from labutils.course.translation import TEMPLATES, Catalogue
from labutils.engine.files import write_whole
from labutils.models import NETWORK_SETTINGS, build, count_parameters
from labutils.quality import Quality
from labutils.quality.verdict import TEXTS
from labutils.study.comparisons import compare, is_dead

INSTALL = 'python -m pip install --editable ".[report]"'


def write(language: str | None = None) -> list[Path]:
    """Make the report, say what is missing and where it is; returns its files, report.html first.

    Raises:
        RunError: a file cannot be written; the sentence names it.
    """
    found = material.gather()
    words = Catalogue(language or found.language)
    for question in found.questions:
        question.text = words.texts.get(" ".join(question.text.split()), question.text)
    scores = scores_of(found)
    measured = measured_of(scores)
    figures = report_figures.all_figures(found.runs, measured, words)
    if words.texts and not report_figures.chinese_font():
        found.lacks.append(("Labels in the figures are English: no Chinese font was found; {how}", {"how": INSTALL}))
    title = words.gettext("GANs and MNIST handwritten digits")
    parts = report_formats.pieces(_document(found, scores, measured, figures, words), found.questions)
    pictures = report_formats.Pictures(figures, found.questions, workcopy.folder(), words)
    page = report_formats.html_page(parts, pictures, words, title, found.digest)
    made = {"report.html": page.encode("utf8", "backslashreplace")}
    lost = list(dict.fromkeys(pictures.lost))
    try:
        made |= report_formats.pdf_and_word(parts, pictures, words, title)
    except ImportError:
        print(f"Only HTML: for PDF and Word {INSTALL}.")
    except (ValueError, OSError) as error:
        print(f"Only HTML: {error}")
    _save(made)
    lacks = [text.format(**about) for text, about in found.lacks] + [f"a picture in an answer: {x}" for x in lost]
    for sentence in lacks:
        print(f"  - {sentence}")
    return [material.report_folder() / name for name in made]


def _save(made: dict[str, bytes]) -> None:
    folder = material.report_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for name in report_formats.NAMES:
        if name in made:
            write_whole(folder / name, made[name])
            place = folder.relative_to(lab.ROOT) if folder.is_relative_to(lab.ROOT) else folder
            print(f"{place / name}  ({len(made[name]) / 1e6:.1f} MB)")
        else:
            (folder / name).unlink(missing_ok=True)  # one of an older report would tell another story


def scores_of(found: Material) -> dict[str, dict]:
    """`material.scored` of each run; what cannot be scored is a sentence in found.lacks."""
    scores = {}
    for name, run in found.runs.items():
        try:
            scores[name] = material.scored(run)
        except (ValueError, RuntimeError, OSError) as error:
            found.lacks.append(("{name} has no scores: {error}", {"name": run.folder.name, "error": str(error)}))
    return scores


def measured_of(scores: dict[str, dict]) -> dict[str, Quality]:
    """The scores of the two runs, as `labutils.quality` has them."""
    how = ("seed", "averaged")
    numbers = {n: {k: v for k, v in scores[n].items() if k not in how} for n in MODELS if n in scores}
    return {name: Quality.from_dict(of) for name, of in numbers.items()}


def _document(found: Material, scores: dict, measured: dict, figures: dict, words: Catalogue) -> str:
    """The report in Markdown, with a mark where an answer stands."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True
    )
    environment.install_gettext_translations(words)
    environment.filters["plain"] = plain
    real = scores and quality.real_against_real()  # of the images in use, as the scores are
    networks = {}
    for model in MODELS:
        if run := found.runs.get(model):
            settings = {k: v for k, v in run.config["train"].items() if k in NETWORK_SETTINGS}
            pair = build(**settings | {"init": "default"})
            networks[model] = [count_parameters(network) for network in pair]
    lacks = [words.gettext(text).format(**about) for text, about in found.lacks]
    verdicts = {model: said(quality.verdict(numbers, real), words) for model, numbers in measured.items()}
    two, seeds = {m: found.runs[m] for m in MODELS if m in found.runs}, _seeds(found.runs, scores)
    shown = {"found": found, "two": two, "lacks": lacks, "settings": _settings(found.runs), "scores": scores}
    shown |= {"real": real, "verdicts": verdicts, "networks": networks, "figures": figures, "seeds": seeds}
    shown |= {"judged": _compared(seeds), "questions": {question.number: question for question in found.questions}}
    return environment.get_template("report.md.j2").render(**shown, date=time.strftime("%Y-%m-%d"))


def plain(text: object) -> str:
    """A text that Markdown shows as it is, in one line."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))


def said(findings: list, words: Catalogue) -> str:
    """A verdict in the report's language: by the catalogue's sentence for each kind, else in English."""
    own = {key.removeprefix("finding: "): text for key, text in words.texts.items() if key.startswith("finding: ")}
    return quality.sentences(findings, TEXTS | own, words.gettext)


def _settings(found: dict) -> list[tuple[str, dict[str, object], object]]:
    """Each setting in which a run differs from the original report's or that it names: (name, by model, original's)."""
    original = asdict(TrainConfig())
    named = ("batch_size", "z_dim", "lr", "beta1", "epochs")
    trained = {model: found[model].config["train"] for model in MODELS if model in found}
    rows = []
    for name, usual in original.items():
        values = {model: t.get(name, usual) for model, t in trained.items()}
        if name in named or (name != "model" and any(value != usual for value in values.values())):
            rows.append((name, values, usual))
    return rows


def _seeds(found: dict, scores: dict) -> dict[str, list[dict]]:
    """For the settings of each of the two runs: all scored runs of them, a line a seed."""
    groups = {}
    for model in [model for model in MODELS if model in found]:
        of = same_settings(found[model])
        those = [(run, scores[name]) for name, run in found.items() if name in scores and same_settings(run) == of]
        groups[model] = [
            {"seed": run.config["train"].get("seed"), "epochs": run.epochs, "scores": s, "alive": not is_dead(s)}
            for run, s in those
        ]
    return groups


def _compared(groups: dict[str, list[dict]]) -> list:
    """What the original report claims of the DCGAN beside the MLP, judged over the student's own seeds."""
    if len(groups) < 2:
        return []
    records = [
        line["scores"] | {"averaged": False, "row": model, "seed": line["seed"], "epoch": line["epochs"]}
        for model, lines in groups.items() for line in lines
    ]  # fmt: skip
    claims = {"precision": "lower", "frechet": "higher", "recall": "lower", "coverage": "lower"}
    return [compare("", records, "dcgan", name, sense, "mlp", "the end") for name, sense in claims.items()]
