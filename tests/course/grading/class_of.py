"""Makes classes of hand-ins, of any size: short trainings with each student's own seed, answers, and what is asked for.

python tests/course/grading/class_of.py FOLDER 20     # a class of 20; the shipped notebooks solved by each
"""

import argparse
import contextlib
import hashlib
import io
import json
import random
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

import torch

from labutils import quality
from labutils.course.student import seed_of
from labutils.runs import load_run
from labutils.training import TrainConfig, train

ROOT = Path(__file__).parents[3]
COURSE = "gan-test"
KEPT = ("config.json", "history.csv", "first_steps.json", "generator.safetensors", "generator_average.safetensors")
SURNAMES, GIVEN = "王李张刘陈杨赵黄周吴", ("小明", "芳", "伟", "秀英", "敏", "静", "丽", "强", "磊", "军")


def number_of(index: int) -> str:
    return f"{2023000000 + index}"


def trained(folder: Path, number: str, **changes) -> Path:
    """The folder of a short run with the student's own seed."""
    settings = {"epochs": 2, "images": 320, "batch_size": 64, "precision": "float32", "device": "cpu", "threads": 1}
    with contextlib.redirect_stdout(io.StringIO()):
        run = train(TrainConfig(**settings | {"seed": seed_of(COURSE, number)} | changes), folder, progress=False)
    for path in run.folder.glob("state_*"):
        path.unlink()
    return run.folder


def run_files(folder: Path, name: str) -> dict[str, bytes]:
    """A run as it lies in a hand-in."""
    kept = [folder / each for each in KEPT if (folder / each).exists()] + sorted((folder / "samples").glob("*.png"))
    return {f"runs/{name}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in kept}


def score_of(folder: Path, samples: int = 2_000, seed: int = 7) -> dict:
    """What scores.json says of a run."""
    images = quality.sample_many(load_run(folder).generator(), samples, seed)
    return quality.score(images).to_dict() | {"samples": samples, "seed": seed, "averaged": False}


def notebooks(answers: dict[str, str] | None = None) -> dict[str, dict]:
    """The lab's notebooks, with `answers`, number of an exercise -> source of its cell, in place of the stubs."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        found[path.stem] = notebook = json.loads(path.read_text("utf8"))
        for cell in notebook["cells"]:
            number = cell["metadata"].get("exercise")
            if number in (answers or {}):
                cell["source"] = answers[number]
            cell.pop("outputs", None)
    return found


def solutions() -> dict[str, str]:
    """The packaged solutions, number -> source of the cell."""
    found = {}
    for path in sorted((ROOT / "labutils" / "assets" / "exercises").glob("*.toml")):
        found |= {
            number: each["solution"] for number, each in tomllib.loads(path.read_text("utf8"))["exercises"].items()
        }
    return found


def exercise(answer: str) -> tuple[str, str]:
    """(number, packaged solution) of the exercise that takes the function of this name: numbers change, names stay."""
    for path in sorted((ROOT / "labutils" / "assets" / "exercises").glob("*.toml")):
        for number, about in tomllib.loads(path.read_text("utf8"))["exercises"].items():
            if about["answer"] == answer:
                return number, about["solution"]
    raise LookupError(answer)


def files(number: str, runs: dict[str, Path], answers=None, solved=None, scores=None, **said) -> dict[str, bytes]:
    """All files of a hand-in: name -> content."""
    content = {}
    for kind, folder in runs.items():
        content |= run_files(folder, kind)
    for name, notebook in notebooks(solved).items():
        content[f"notebooks/{name}.ipynb"] = json.dumps(notebook, ensure_ascii=False).encode()
    content["answers.json"] = json.dumps(answers or {}, ensure_ascii=False).encode()
    content["scores.json"] = json.dumps(scores or {}).encode()
    manifest = {"format": 1, "number": number, "name": "", "course": COURSE, "seed": seed_of(COURSE, number)}
    manifest |= {"language": "zh", "labutils": "1.0.0", "python": "3.11", "torch": torch.__version__}
    manifest |= {"made": "2026-12-01T12:00:00+08:00", "runs": {kind: f"runs/{kind}" for kind in runs}, "exercises": {}}
    manifest |= {"files": {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in content.items()}}
    return {"manifest.json": json.dumps(manifest | said, ensure_ascii=False).encode()} | content


def packed(content: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in content.items():
            archive.writestr(name, each)
    return made.getvalue()


SENTENCES = [
    "生成器的损失在前几轮迅速下降，随后围绕一个值振荡，说明判别器一直在变化。",
    "判别器在真实图像上的输出接近一，在生成图像上接近零，因此饱和损失的梯度几乎消失。",
    "从第五轮开始能看出数字的笔画，但是七和九经常混在一起，我数了六十四张里的十一张。",
    "批归一化使各层的输出保持在相近的范围内，没有它时我的两次训练都只生成灰色的图像。",
    "我把学习率改为十分之一后重复了三次，方差变小了，但清晰度没有明显的提高。",
    "The two losses do not tell when to stop, since each is measured against a moving opponent.",
    "With another seed the grid at the end differs in every digit while the score differs by two percent.",
    "I expected the transposed convolution to win by more; per second of computing the gap is small.",
    "Coverage stayed below a half although every picture looked fine, so variety is what is missing.",
    "When the sigmoid saturates the gradient of the minimax loss vanishes, which the curve of step ten shows.",
]


def own_answers(index: int) -> dict[str, str]:
    """Answers as somebody would write them: sentences that others write too, with numbers and words of his own."""
    chance = random.Random(index)
    words = [f"{chance.choice('甲乙丙丁戊己庚辛')}{chance.randrange(10**6)}" for _ in range(40)]
    return {
        f"0{n}.{k}".lstrip("0"): "".join(
            sentence + "".join(chance.sample(words, 6)) for sentence in chance.sample(SENTENCES, 3)
        )
        for n in (1, 5, 6)
        for k in (1, 2, 3)
    }


def make_class(folder: Path, count: int, work: Path, solved: bool = True, models=("mlp", "dcgan"), **sizes) -> None:
    """A class of honest students; each trains what `models` names, in these sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(1, 1 + count):
        number = number_of(index)
        runs = {model: trained(work / number / model, number, model=model, **sizes) for model in models}
        name = SURNAMES[index % 10] + GIVEN[index // 10 % 10]
        content = files(number, runs, own_answers(index), solutions() if solved else None, name=name)
        (folder / f"handin-{number}.zip").write_bytes(packed(content))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--images", type=int, default=320)
    known = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        make_class(known.folder, known.count, Path(scratch), epochs=known.epochs, images=known.images)
    print(f"{known.count} hand-ins in {known.folder}", file=sys.stderr)
