"""What a student's report and hand-in are made of: his runs, their scores, his answers, and what is still missing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from labutils import exercises, runs
from labutils.course import lab, workcopy
from labutils.course.student import student
from labutils.engine.paths import expanded
from labutils.presets import PRESETS, by_preset
from labutils.runs import Run, RunError

MODELS = ("mlp", "dcgan")  # the two runs that every report is about
MOST_RUNS = 12  # that are compared: each costs some seconds of scoring, once
SMALL = max(size["images"] for size in PRESETS["smoke"].values())  # images of a run that only shows that all works
Lack = tuple[str, dict]  # a sentence with {names}, and what they stand for: the report says it in its own language


@dataclass
class Question:
    """One question of the notebooks, the student's answer to it in Markdown, and the pictures pasted into it."""

    number: str
    text: str
    answer: str
    attachments: dict = field(default_factory=dict)


@dataclass
class Material:
    """All of it; `runs` by "mlp", "dcgan", and further ones of the same settings by the names of their folders."""

    student: dict | None
    runs: dict[str, Run]
    questions: list[Question]
    exercises: dict[str, str]
    lacks: list[Lack]

    @property
    def language(self) -> str:
        """ "zh" where the answers are Chinese, else "en"."""
        text = "".join(question.answer for question in self.questions)
        return "zh" if len(re.findall(r"[\u4e00-\u9fff]", text)) > len(text) / 20 else "en"

    @property
    def digest(self) -> str:
        """SHA-256 of the student, the answers and the exercises, which a report carries: is it of these?"""
        answers = {question.number: (question.answer, question.attachments) for question in self.questions}
        return hashlib.sha256(json.dumps([self.student, answers, self.exercises], sort_keys=True).encode()).hexdigest()


def gather() -> Material:
    """Look at working copy and runs; what is missing or cannot be read is a sentence in `lacks`, never an error."""
    lacks: list[Lack] = []
    who = None
    try:
        who = student()
    except ValueError as damaged:
        lacks.append(("{error}", {"error": str(damaged)}))
    if who is None:
        lacks.append(("Nobody is named: python -m labutils student YOUR_NUMBER --name YOUR_NAME", {}))
    found = _runs(who, lacks)
    questions = _questions(lacks)
    states = exercises.states()
    lacks += to_answer({question.number: question.answer for question in questions}) + to_solve(states)
    return Material(who, found, questions, states, lacks)


def choose(**names: str | Path | None) -> None:
    """Name the runs of the report, `choose(mlp=..., dcgan=...)`, by their folders; None: the best that is there."""
    for model, name in names.items():
        if model not in MODELS or (name and runs.load_run(_place(name)).config["train"]["model"] != model):
            raise ValueError(f"{name} is no run of {model}; a report has one of {' and one of '.join(MODELS)}.")
    kept = {**_chosen(), **{model: name and _place(name).name for model, name in names.items()}}
    workcopy.folder().mkdir(parents=True, exist_ok=True)
    runs.write_json(workcopy.folder() / "report.json", kept)


def report_folder() -> Path:
    """Where the report is written: LABUTILS_REPORT, or report/ at the top of the lab."""
    return expanded(os.environ.get("LABUTILS_REPORT") or lab.ROOT / "report")


def scored(run: Run, samples: int | None = None, seed: int = 0) -> dict:
    """The numbers of `labutils.quality.score` of a run's generator, with {samples, seed, averaged}.

    They are kept in scores.json beside it and read from there while they are of these weights: making them anew takes
    some seconds. ValueError or RunError: the generator cannot be scored; a sentence says why.
    """
    from labutils.quality import Quality, classifier_folder, sample_many, score

    samples = samples or by_preset(2_000, 10_000, 10_000)
    averaged = bool(run.config["train"].get("ema"))
    weights = (run.folder / f"generator{'_average' * averaged}.safetensors").read_bytes()
    of = {"sha256": hashlib.sha256(weights).hexdigest(), "samples": samples, "seed": seed, "averaged": averaged}
    if os.environ.get("LABUTILS_DATA"):  # the same generator has other scores beside other images
        of["real"] = runs.read_json(classifier_folder() / "classifier.json")["data"]["sha256"]
    path = run.folder / "scores.json"
    with contextlib.suppress(RunError, KeyError, TypeError):
        kept = runs.read_json(path)
        if kept["of"] == of and Quality.from_dict(kept["scores"]):  # of the very numbers that are measured today
            return kept["scores"] | {key: of[key] for key in ("seed", "averaged")}
    scores = score(sample_many(run.generator(), samples, seed)).to_dict()
    with contextlib.suppress(RunError):  # a full disk: they are made anew the next time
        runs.write_json(path, {"of": of, "scores": scores})
    return scores | {"seed": seed, "averaged": averaged}


def to_answer(answers: dict[str, str]) -> list[Lack]:
    """Which questions have no answer."""
    text = "{done} of {count} questions are answered; not yet: {rest}"
    return _rest(text, [number for number, answer in answers.items() if not answer.strip()], len(answers))


def to_solve(states: dict[str, str]) -> list[Lack]:
    """Which exercises are not right."""
    text = "{done} of {count} exercises are right; not yet: {rest}"
    return _rest(text, [number for number, state in states.items() if state != "right"], len(states))


def _rest(text: str, rest: list[str], count: int) -> list[Lack]:
    return [(text, {"done": count - len(rest), "count": count, "rest": ", ".join(rest)})] if rest else []


def is_small(run: Run) -> bool:
    """Whether a run has seen as few images as those that only show that everything works."""
    return run.config["data"]["images"] <= SMALL


def figure_epochs(run: Run) -> list[int]:
    """Ten epochs along a run whose grids are there, the first and the last among them: those of Figure 4."""
    there = [epoch for epoch in run.sample_epochs() if epoch <= run.epochs]
    return sorted({there[round(i * (len(there) - 1) / 9)] for i in range(10)}) if there else []


def same_settings(run: Run) -> tuple:
    """What two runs of the same images share that differ in nothing but seed, length and where they were computed."""
    other = ("seed", "epochs", "device", "threads", "precision")
    settings = sorted((k, repr(v)) for k, v in run.config["train"].items() if k not in other)
    return run.config["data"]["sha256"], *settings


def _place(name: str | Path) -> Path:
    return runs.runs_folder() / Path(name).expanduser()


def _chosen() -> dict:
    with contextlib.suppress(RunError):
        return {k: v for k, v in runs.read_json(workcopy.folder() / "report.json").items() if k in MODELS}
    return {}


def _runs(who: dict | None, lacks: list[Lack]) -> dict[str, Run]:
    """Those that were chosen; else of each model the longest, the student's own seed and whole runs first."""
    there = []
    for path in sorted(runs.runs_folder().glob("*/config.json")):
        try:
            there.append(runs.load_run(path.parent))
        except RunError as error:
            lacks.append(("{error}", {"error": str(error)}))
    seed, chosen, found = who and who["seed"], _chosen(), {}
    for model in MODELS:
        those = [run for run in there if run.config["train"]["model"] == model and run.epochs]
        named = [run for run in those if run.folder.name == chosen.get(model)]
        if named or those:
            found[model] = max(named or those, key=lambda run: (run.config["train"].get("seed") == seed, _work(run)))
    lacks += to_train(found, seed)
    settings = {same_settings(run) for run in found.values()}
    further = [r for r in there if same_settings(r) in settings and r.epochs and r not in found.values()]
    return found | {run.folder.name: run for run in further[: MOST_RUNS - len(found)]}


def _work(run: Run) -> int:
    return run.epochs * run.config["data"]["images"]


def to_train(found: dict[str, Run], seed: int | None) -> list[Lack]:
    """What is wrong with the two runs of a report, whose student has this seed."""
    lacks: list[Lack] = []
    for model in MODELS:
        if not (run := found.get(model)):
            lacks.append(("There is no run of {model}: train one", {"model": model.upper()}))
            continue
        train, about = run.config["train"], {"model": model.upper(), "name": run.folder.name}
        about |= {"epochs": run.epochs, "wanted": train["epochs"], "images": run.config["data"]["images"]}
        about |= {"seed": train.get("seed"), "own": seed}
        for text, wrong in {
            "The {model} run is only a small one (images: {images}, epochs: {epochs}): {name}": is_small(run),
            "The {model} run is not finished, {epochs} of {wanted} epochs: {name}": run.epochs < train["epochs"],
            "The {model} run has the seed {seed}; yours is {own}": seed is not None and train.get("seed") != seed,
            "The {model} run keeps no first steps: an older version trained it": not run.first_steps,
        }.items():
            lacks += [(text, about)] * wrong
    if len({found[model].config["data"]["sha256"] for model in MODELS if model in found}) > 1:
        counts = {model: found[model].config["data"]["images"] for model in MODELS}
        lacks.append(("The two runs saw different images: {mlp} and {dcgan} of them", counts))
    return lacks


def _questions(lacks: list[Lack]) -> list[Question]:
    """Those of all notebooks, with the answers of the working copy."""
    found, untouched = [], []
    for original in sorted((lab.ROOT / "notebooks").glob("[0-9]*.ipynb")):
        copy = workcopy.folder() / original.name
        try:
            handed_out = bare_notebook(original)["cells"]
            cells = bare_notebook(copy)["cells"] if copy.exists() else handed_out
        except ValueError as error:
            lacks.append(("{error}", {"error": str(error)}))
            continue
        if [cell["source"] for cell in cells] == [cell["source"] for cell in handed_out]:
            untouched.append(original.stem)
        found += _of(handed_out, cells)
    if untouched:
        names = ", ".join(untouched)
        lacks.append(("Never changed, or never saved, in the working copy: {names}", {"names": names}))
    return found


def bare_notebook(path: Path) -> dict:
    """A notebook without outputs, its sources as texts; nbformat, which takes seconds to come, is not asked.

    Raises:
        ValueError: the file is no notebook; the sentence names it.
    """
    try:
        notebook = json.loads(path.read_text("utf8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
            cell["metadata"].get("question"), cell["cell_type"].strip()
            if "outputs" in cell:
                cell["outputs"], cell["execution_count"] = [], None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path.name} cannot be read as a notebook ({type(error).__name__}): repair it.") from None
    return notebook


def asked(number: str, text: str) -> str:
    """The question in the cell before its answer, from the last heading on, without its number."""
    parts = re.split(rf"\*\*(?:Question )?{re.escape(number)}\.?\*\*\.?", text)
    return re.sub(r"(?ms)\A.*^#+ [^\n]*\n", "", parts[-1]).strip()


def _of(handed_out: list, cells: list) -> list[Question]:
    """The questions as they were handed out, with the answers that stand in `cells`."""
    texts, answers, pictures = {}, {}, {}
    for before, cell in zip([None, *handed_out], handed_out, strict=False):
        if number := cell["metadata"].get("question"):
            texts[str(number)] = asked(str(number), before["source"] if before else "")
    for cell in cells:
        number = str(cell["metadata"].get("question"))
        if number in texts and cell["cell_type"] == "markdown":
            text = re.sub(r"\A\s*(<!--.*?-->\s*)*", "", cell["source"], flags=re.DOTALL).strip()
            answers[number] = "\n\n".join(filter(None, (answers.get(number), text)))  # a cell that was split
            pictures.setdefault(number, {}).update(cell.get("attachments", {}))
    return [Question(n, text, answers.get(n, ""), pictures.get(n, {})) for n, text in texts.items()]
