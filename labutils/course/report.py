"""The student's report, made from his runs, scores and answers: what `python -m labutils report` does."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Language, runs."""
    parser.add_argument("--lang", choices=("zh", "en"), help="of the report (default: that of the answers)")
    for model in ("mlp", "dcgan"):
        parser.add_argument(f"--{model}", metavar="RUN", help=f"the run of {model} that it is about, a folder in runs")


def main(known: argparse.Namespace) -> int:
    """Write report/report.html, and PDF and Word where pandoc and typst are; 2 with a sentence if that cannot be."""
    from labutils.course import lab, material

    try:
        if refusal := lab.not_here("report"):
            raise ValueError(refusal)
        if named := {model: name for model in material.MODELS if (name := getattr(known, model))}:
            material.choose(**named)
        write(known.lang)
    except (ValueError, RuntimeError) as refusal:
        print(refusal, file=sys.stderr)
        return 2
    return 0


def write(language: str | None = None) -> list[Path]:
    """Make the report, say what is missing and where it is; returns its files, report.html first.

    Raises:
        RunError: a file cannot be written; the sentence names it.
    """
    from labutils.course import lab, material, report_formats, workcopy
    from labutils.course.report_figures import all_figures, chinese_font
    from labutils.course.translation import Catalogue
    from labutils.engine.files import write_whole
    from labutils.quality import Quality

    found = material.gather()
    words = Catalogue(language or found.language)
    scores = {}
    for name, run in found.runs.items():
        try:
            scores[name] = material.scored(run)
        except (ValueError, RuntimeError, OSError) as error:
            found.lacks.append(("{name} has no scores: {error}", {"name": run.folder.name, "error": str(error)}))
    measured = {name: Quality.from_dict(_numbers(scores[name])) for name in material.MODELS if name in scores}
    figures = all_figures(found.runs, measured, words)
    if words.texts and not chinese_font():
        found.lacks.append(("Labels in the figures are English: no Chinese font was found; {how}", {"how": INSTALL}))
    title = words.gettext("GANs and MNIST handwritten digits")
    text = _document(found, scores, measured, figures, words)
    parts = report_formats.pieces(text, found.questions)
    pictures = report_formats.Pictures(figures, found.questions, workcopy.folder(), words)
    made = {"report.html": report_formats.html_page(parts, pictures, words, title).encode("utf8", "backslashreplace")}
    lost = list(dict.fromkeys(pictures.lost))
    try:
        made |= report_formats.pdf_and_word(parts, pictures, words, title)
    except ImportError:
        print(f"Only HTML: for PDF and Word {INSTALL}.")
    except (ValueError, OSError) as error:
        print(f"Only HTML: {error}")
    folder = lab.ROOT / "report"
    folder.mkdir(exist_ok=True)
    for name in report_formats.NAMES:
        if name in made:
            write_whole(folder / name, made[name])
        else:
            (folder / name).unlink(missing_ok=True)  # one of an older report would tell another story
    for lack, about in found.lacks:
        print(f"  - {lack.format(**about)}")
    for picture in lost:
        print(f"  - a picture in an answer: {picture}")
    print(
        "The report:",
        *(f"  {folder / name}  ({len(content) / 1e6:.1f} MB)" for name, content in made.items()),
        sep="\n",
    )
    return [folder / name for name in made]


INSTALL = 'python -m pip install --editable ".[report]"'


def _numbers(scores: dict) -> dict:
    return {key: value for key, value in scores.items() if key not in ("seed", "averaged")}


def _document(found, scores: dict, measured: dict, figures: dict, words) -> str:
    """The report in Markdown, with a mark where an answer stands."""
    import time

    import jinja2

    from labutils import quality
    from labutils.course.material import MODELS
    from labutils.course.translation import TEMPLATES
    from labutils.models import NETWORK_SETTINGS, build, count_parameters

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True
    )
    environment.install_gettext_translations(words)
    environment.filters["plain"] = plain
    real = quality.real_digits()
    networks = {}
    for model in MODELS:
        if run := found.runs.get(model):
            pair = build(
                **{k: v for k, v in run.config["train"].items() if k in NETWORK_SETTINGS} | {"init": "default"}
            )
            networks[model] = [count_parameters(network) for network in pair]
    return environment.get_template("report.md.j2").render(
        found=found,
        two={model: found.runs[model] for model in MODELS if model in found.runs},
        lacks=[words.gettext(text).format(**about) for text, about in found.lacks],
        settings=_settings(found.runs),
        scores=scores,
        real=real,
        verdicts={model: said(quality.verdict(numbers, real), words) for model, numbers in measured.items()},
        networks=networks,
        figures=figures,
        seeds=(seeds := _seeds(found.runs, scores)),
        judged=_compared(seeds),
        questions={question.number: question for question in found.questions},
        date=time.strftime("%Y-%m-%d"),
    )


def plain(text: object) -> str:
    """A text that Markdown shows as it is, in one line."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))


def said(findings: list, words) -> str:
    """A verdict in the report's language: by the catalogue's sentence for each kind, else in English."""
    from labutils.quality import sentences

    parts = []
    for kind in dict.fromkeys(finding.kind for finding in findings):
        those = [finding for finding in findings if finding.kind == kind]
        first = those[0]
        sentence = words.texts.get(f"finding: {kind}")
        about = {"names": "、".join(f"{one.name} ({one.value:.0%})" for one in those if one.name.isdigit())}
        about |= {"part": first.value / first.real if first.real else 0, "pictures": round(first.value * first.samples)}
        about |= {one.name: one.value for one in those if not one.name.isdigit()}
        parts.append(sentence.format(**vars(first) | about) if sentence else sentences(those))
    return " ".join(parts)


def _settings(found: dict) -> list[tuple[str, dict[str, object], object]]:
    """Each setting in which a run differs from the original report's or that it names: (name, by model, original's)."""
    from dataclasses import asdict

    from labutils.config import TrainConfig
    from labutils.course.material import MODELS

    original = asdict(TrainConfig())
    named = ("batch_size", "z_dim", "lr", "beta1", "epochs")
    trained = {model: found[model].config["train"] for model in MODELS if model in found}
    rows = [
        name
        for name in original
        if name in named or any(t.get(name, original[name]) != original[name] for t in trained.values())
    ]
    return [
        (n, {model: t.get(n, original[n]) for model, t in trained.items()}, original[n]) for n in rows if n != "model"
    ]


def _seeds(found: dict, scores: dict) -> dict[str, list[dict]]:
    """For the settings of each of the two runs: all scored runs of them, a line a seed."""
    from labutils.course.material import MODELS, same_settings
    from labutils.study.comparisons import is_dead

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
    from labutils.study.comparisons import LOOKS, WORST, Comparison

    if len(groups) < 2:
        return []
    rows, judged = [groups["dcgan"], groups["mlp"]], []
    alive = tuple((sum(line["alive"] for line in lines), len(lines)) for lines in rows)
    for name, sense in {"precision": "lower", "frechet": "higher", "recall": "lower", "coverage": "lower"}.items():
        values = tuple(
            tuple(
                line["scores"][name] if line["alive"] else WORST.get(name, 0.0)
                for line in lines
                if line["alive"] or name not in LOOKS
            )
            for lines in rows
        )
        judged.append(Comparison("", "the end", name, sense, ("DCGAN", "MLP"), values, alive))
    return judged
