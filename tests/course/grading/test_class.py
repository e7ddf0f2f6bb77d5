"""A class as a whole: who wrote alike, whose run it is, points, tables without formulas, pages without scripts."""

import copy
import csv
import io
import json
import re
from dataclasses import asdict
from datetime import datetime

import class_of
import pytest

from labutils import study
from labutils.course.grading import alike, class_study, command, flags, pages, rubric
from labutils.course.grading.evidence import finding
from labutils.course.grading.one import _about
from labutils.course.grading.reader import HandIn, Source
from labutils.training import TrainConfig


def row(index, **changes):
    number = class_of.number_of(index)
    one = {
        "key": f"k{index}",
        "source": f"handin-{number}.zip",
        "stamp": "",
        "runs": {},
        "number": number,
        "name": "王",
    }
    one |= {"number_inside": number, "problems": [], "unreadable": "", "language": "zh", "course": "c", "made": ""}
    one |= {"claimed": {}, "answers": class_of.own_answers(index), "exercises": {}, "limits": [], "cpu_seconds": 0}
    return one | changes


def run(seed, level, kind="mlp", **changes):
    """A row's run whose generator draws pictures that depend on `level`."""
    chance = __import__("torch").Generator().manual_seed(level)
    probe = __import__("torch").randn(64, 64, generator=chance).tolist()
    found = {"config": {"model": kind, "seed": seed, "z_dim": 100}, "epochs": 2, "cost": 10.0, "losses": [[level, 1]]}
    found |= {"findings": [finding("readable", "ok")], "strip": "", "probe": probe, "collapsed": False}
    found |= {"as": kind, "verified": True, "generator_parameters": 7, "discriminator_parameters": 8}
    return found | {"machine": {"was": "cpu, float32"}} | changes


RULES = rubric.read_rubric(None)


def raised(*rows, text=(), code=()):
    flags.raise_all(list(rows), RULES, list(text), list(code))
    return [sorted({flag["code"] for flag in one["flags"] if flag["kind"] == "flag"} - {"missing"}) for one in rows]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("handin-2023000001.zip", "2023000001"),
        ("handin-2023000001.zip.zip", "2023000001"),
        ("handin-2023000001 (2).zip", "2023000001"),
        ("handin-s1_a - 副本.zip", "s1_a"),
        ("handin-２０２３０００００１.zip", "2023000001"),
        ("Wang_12345678_assignsubmission_file/handin-2023000001.zip", "2023000001"),
        ("20261201-王-2023000001.zip", "2023000001"),
        ("2023000001_王/作业.zip", "2023000001"),
        ("20261201/2023000009.zip", "20261201"),
        ("wang_LATE_12345_6789012_handin-2023000001-1.zip", "2023000001"),  # Canvas counts what comes again
        ("handin-2023000001_final.zip", "2023000001"),
        ("handin-20230000012.zip", "20230000012"),
        ("Participant_12345678_assignsubmission_file_/作业.zip", "2023000001"),
        ("作业.zip", "2023000001"),
    ],
)
def test_whose_it_is_stands_in_its_name(name, number):
    """Several numbers in a name: that of the content is taken, if it is one of them; else the first."""
    options = {"number": RULES.number, "course": ""}
    hand_in = HandIn({"number": "2023000001"}, {}, {}, {})
    assert _about(hand_in, Source("x.zip", name), options)["number"] == number


def test_an_honest_class_accuses_nobody():
    rows = [row(i, runs={"a": run(i, i), "b": run(i, i + 500, "dcgan")}) for i in range(120)]
    assert alike.answers(rows) == []
    assert raised(*rows) == [[]] * 120


def test_a_copy_is_the_one_whose_evidence_fails():
    bad = run(1, 5) | {"findings": [finding("seed", "no", seed=1, expected=2)], "verified": False}
    assert raised(row(1, runs={"a": run(1, 5)}), row(2, runs={"a": bad})) == [[], ["history", "seed", "twin"]]


def test_a_copy_with_a_new_seed_and_nothing_against_it_is_said_of_both():
    found = raised(row(1, runs={"a": run(1, 5)}), row(2, runs={"a": run(2, 5)}), row(3, runs={"a": run(3, 6)}))
    assert found == [["history", "twin"], ["history", "twin"], []]


def test_the_default_seed_of_two_is_no_accusation_of_copying():
    bad = run(0, 5) | {"findings": [finding("seed", "no", seed=0, expected=2)], "verified": False}
    assert raised(row(1, runs={"a": copy.deepcopy(bad)}), row(2, runs={"a": copy.deepcopy(bad)})) == [
        ["seed"],
        ["seed"],
    ]


def test_collapsed_generators_and_ones_own_two_runs_accuse_nobody():
    dead = [row(i, runs={"a": run(i, 5, collapsed=True, losses=[[i, 1]])}) for i in (1, 2)]
    assert raised(*dead) == [[], []]
    assert raised(row(1, runs={"a": run(1, 5), "b": run(2, 5)})) == [[]]


def test_runs_that_have_no_epoch_yet_are_not_one_history():
    assert raised(*(row(i, runs={"a": run(i, i, losses=[], epochs=0)}) for i in (1, 2))) == [[], []]


def test_a_second_hand_in_is_no_copy_and_no_second_run_of_the_class(tmp_path):
    quality = {"frechet": 3.0, "coverage": 0.9, "averaged": False, "precision": 0.9}
    rows = [row(1, runs={"a": run(1, 1, quality=quality)}, key=key, source=f"{key}.zip") for key in "ab"]
    known = type("Known", (), {"execute": False, "no_rescore": False, "lang": "en"})
    command.conclude(tmp_path, rows, RULES, {}, {}, known)
    for one in rows:
        assert {flag["code"] for flag in one["flags"]} == {"twice", "missing"}
        assert f"this one, {one['source']}, says" in one["flags"][0]["text"]
    assert len(json.loads((tmp_path / "records.json").read_text("utf8"))) == 1


def test_the_generator_that_comes_with_the_lab_is_known():
    shipped = dict(flags._shipped())
    assert len(shipped) >= 2
    name, known = next((name, run) for name, run in flags._shipped() if not run["collapsed"])
    theirs = run(1, 5) | {"probe": known["probe"], "config": known["config"] | {"seed": 77}}
    one = row(1, runs={"a": theirs})
    assert raised(one) == [["twin"]]
    assert name in one["flags"][0]["text"]


def test_answers_that_are_alike_are_found_in_chinese_too():
    rows = [row(i) for i in range(30)]
    text = rows[3]["answers"]["5.1"]
    rows[7]["answers"]["5.1"] = "我认为，" + text.replace("，", "、") + " 就是这样。"
    found = alike.answers(rows)
    assert [(pair["question"], sorted(pair["of"])) for pair in found] == [("5.1", ["k3", "k7"])]
    rows[9]["answers"]["5.1"] = text
    assert len(alike.answers(rows)) == 3


def test_short_answers_that_all_give_are_not_alike():
    rows = [row(i, answers={"1.1": "ln 2 = 0.693", "1.2": "两倍"}) for i in range(30)]
    assert alike.answers(rows) == []


def test_programs_under_other_names_are_found_unless_public_or_common():
    long = "def f(a, b):\n    x = []\n" + "".join(f"    x.append(a * {i} + b)\n" for i in range(9)) + "    return x"
    other = long.replace("x", "result").replace("a", "first").replace("first" + "ppend", "append")
    rows = [row(i, exercises={"5.2": {"source": f"def g(a):\n    return a + {i}"}}) for i in range(30)]
    rows[1]["exercises"]["5.2"]["source"], rows[2]["exercises"]["5.2"]["source"] = long, "# mine\n" + other
    assert [pair["of"] for pair in alike.programs(rows, [])] == [["k1", "k2"]]
    assert alike.programs(rows, [long]) == []
    for one in rows:
        one["exercises"]["5.2"]["source"] = long
    assert alike.programs(rows, []) == []


FORMULAS = [
    "=1+1",
    "+1",
    "-1+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "＝1+1",
    " =1",
    "a;=1+1",
    "a\n=1",
    'x",=1',
]


def test_no_cell_is_a_formula(tmp_path):
    rubric.write_table(tmp_path / "t.csv", ["number", "name"], [[text, text] for text in FORMULAS])
    raw = (tmp_path / "t.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    for delimiter in (",", ";", "\t"):
        for line in csv.reader(io.StringIO(raw.decode("utf-8-sig")), delimiter=delimiter):
            assert not any(re.match(r"\s*[=+\-@＝＋－＠]", cell) for cell in line), (delimiter, line)


def marks(tmp_path, text, encoding="utf8"):
    (tmp_path / "marks.csv").write_bytes(text.encode(encoding))
    return rubric.read_marks(tmp_path / "marks.csv", RULES)


def test_marks_are_read_as_excel_saves_them(tmp_path):
    head = ["number", "name", "answers", "comparison", "comments", "comment"]
    for delimiter, encoding in ((",", "utf-8-sig"), (";", "gbk"), ("\t", "utf8")):
        text = "\r\n".join(
            delimiter.join(line) for line in (head, ["2023000001", "王", "25", "7.5", "well figures", "很好"])
        )
        found = marks(tmp_path, text, encoding)["2023000001"]
        assert (found["answers"], found["comparison"]) == (25, 7.5)
        assert (found["comments"], found["comment"]) == (["well", "figures"], "很好")
    for wrong in ("x", "31", "-1", "nan"):
        with pytest.raises(ValueError, match="line 2"):
            marks(tmp_path, f"number,answers\n1,{wrong}")
    with pytest.raises(ValueError, match="no column `number`"):
        marks(tmp_path, "a,b\n1,2")


MARKED = 'number,Answers ,comments,comment\r\n2023000001,25,"well，figures",很好\r\n'


@pytest.mark.parametrize(
    "raw",
    [
        MARKED.replace(",", "\t").encode("utf-16"),  # "Unicode text"
        MARKED.replace("\r\n", "\r").encode(),  # of an old Mac
        MARKED.replace("2023000001", "２０２３０００００１").encode(),
        MARKED.replace("2023000001", '="2023000001"').encode(),
        MARKED.replace("2023000001", "2023000001.0").encode(),
        MARKED.replace("2023000001", "\t2023000001\t").encode(),
        (MARKED + ",,,\r\n" * 3).encode(),
    ],
)
def test_marks_are_read_however_they_were_saved(raw, tmp_path):
    (tmp_path / "marks.csv").write_bytes(raw)
    mark = {"answers": 25, "comments": ["well", "figures"], "comment": "很好"}
    assert rubric.read_marks(tmp_path / "marks.csv", RULES) == {"2023000001": mark}


def test_a_long_comment_is_read_whole(tmp_path):
    assert marks(tmp_path, "number,comment\n1," + "长" * 200_000)["1"]["comment"] == "长" * 200_000


def test_marks_of_somebody_who_handed_in_nothing_are_named(tmp_path):
    given = marks(tmp_path, "number,answers,comment\n1,,\n2,25,\n3,,good\n4,,\n")
    said = rubric.write_missing_marks(tmp_path, [row(1), row(2)], RULES, given)
    numbers = [class_of.number_of(1), class_of.number_of(2)]
    assert said.startswith("2 students are not in marks.csv: add them from marks_new.csv. Marks without a hand-in")
    assert said.endswith("2 in marks.csv (2, 3).")
    both = {key: {"answers": 1.0} for key in numbers}
    assert rubric.write_missing_marks(tmp_path, [row(1), row(2)], RULES, both) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("number,answers\n2.023E+09,25\n2.023E+09,20", "line 2: Excel shortened a number to 2.023E+09; write it out"),
        ("number,answers\n1,25\n1,20", "line 3: 1 has a line already"),
    ],
)
def test_marks_that_may_be_of_two_students_are_refused(text, said, tmp_path):
    with pytest.raises(ValueError, match=re.escape(said)):
        marks(tmp_path, text)


def test_one_run_does_not_count_as_two():
    one = row(1, runs={"a": run(1, 1), "b": run(1, 2) | {"as": "dcgan"}}, flags=[])
    assert rubric.graded(one, RULES, {})["parts"]["runs"] == 10
    raised(one)
    assert "There is no run of these: dcgan." in [flag["text"] for flag in one["flags"]]


def test_points_come_from_runs_exercises_and_marks():
    one = row(
        1, runs={"a": run(1, 1), "b": run(1, 2, "dcgan", verified=False)}, flags=[{"code": "seed", "kind": "flag"}]
    )
    one["exercises"] = {str(i): {"state": state} for i, state in enumerate(["right", "right", "wrong", "untouched"])}
    got = rubric.graded(one, RULES, {"answers": 20.0})
    assert got["parts"] == {"runs": 10, "exercises": 5, "answers": 20, "comparison": None, "conclusions": None}
    assert (got["total"], got["open"], got["off"]) == (35, ["comparison", "conclusions"], 0)


def test_a_late_hand_in_and_a_flag_cost_what_the_rubric_says(tmp_path):
    text = (rubric.TEMPLATES / "rubric.toml").read_text("utf8")
    text = text.replace('deadline = ""', 'deadline = "2026-12-01T12:00:00+08:00"').replace(
        "late_a_day = 0.0", "late_a_day = 4"
    )
    text = text.replace("late_at_most = 0.0", "late_at_most = 10") + "seed = 5\n"
    (tmp_path / "r.toml").write_text(text, "utf8")
    rules = rubric.read_rubric(tmp_path / "r.toml")
    for made, off in (
        ("2026-12-01T11:00:00+08:00", 0),
        ("2026-12-02T11:00:00+0800", 4),
        ("2027-01-01T00:00:00Z", 10),
        ("x", 0),
    ):
        assert rubric.graded(row(1, made=made, flags=[]), rules, {})["late"] == off
    assert rubric.graded(row(1, flags=[{"code": "seed", "kind": "flag"}] * 2), rules, {})["off"] == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("points = 20", "points = -1"), "-1 are no points"),
        (('20\nfrom = "runs"', '20\nfrom = "luck"'), "from must be"),
        (('course = ""', 'coarse = ""'), "'coarse' is unknown in a rubric; there are parts, course"),
        (
            ("points = 20", "points = 20\nweight = 2"),
            "'weight' is unknown in a part; there are key, title, points, from",
        ),
        (("[flags]", "[flags]\nsede = 5\n"), "'sede' is unknown in what costs points; there are begins, ends"),
        (("[flags]", "[flags]\ntext = 5\n"), "'text' is unknown in what costs points"),  # a look never does
        (("[[parts]]", "[parts"), "is no rubric"),
        (("number = '", "number = '["), "is no rubric"),
        (('key = "answers"', 'key = "Comment"'), "a key of its own, and none of number, name"),
        (('key = "answers"', 'key = "comment"'), "a key of its own, and none of number, name"),
        (('runs = ["mlp", "dcgan"]', 'runs = "mlp"'), "runs must be a list of 'mlp' and 'dcgan'"),
        (('runs = ["mlp", "dcgan"]', 'runs = ["vae"]'), "runs must be a list of 'mlp' and 'dcgan'"),
    ],
)
def test_a_wrong_rubric_is_a_sentence(change, said, tmp_path):
    (tmp_path / "r.toml").write_text((rubric.TEMPLATES / "rubric.toml").read_text("utf8").replace(*change, 1), "utf8")
    with pytest.raises(ValueError, match=re.escape(said)) as found:
        rubric.read_rubric(tmp_path / "r.toml")
    assert "\n" not in str(found.value).partition(" (at")[0]


def test_a_title_in_one_language_and_a_date_of_toml_are_taken(tmp_path):
    part = '[[parts]]\nkey = "a"\npoints = 1\nfrom = "marks"\ntitle = { zh = "答" }\n'
    (tmp_path / "r.toml").write_text(f"deadline = 2026-12-01T12:00:00+08:00\n{part}", "utf8")
    rules = rubric.read_rubric(tmp_path / "r.toml")
    assert rules.parts[0].title == {"en": "a", "zh": "答"}
    assert rules.deadline == datetime.fromisoformat("2026-12-01T12:00:00+08:00")


def test_a_date_is_a_whole_day_and_a_course_has_no_spaces_around_it(tmp_path):
    part = '[[parts]]\nkey = "a"\npoints = 1\nfrom = "marks"\n'
    (tmp_path / "r.toml").write_text(
        f'late_a_day = 1\nlate_at_most = 9\ncourse = " a  b "\ndeadline = 2026-12-01\n{part}'
    )
    rules = rubric.read_rubric(tmp_path / "r.toml")
    assert rules.course == "a b"
    for made, late in (("2026-12-01T23:00:00", 0), ("2026-12-02T01:00:00", 1)):
        assert rubric.graded(row(1, made=made, flags=[]), rules, {})["late"] == late


def test_no_page_has_a_name_that_windows_keeps_for_itself(tmp_path):
    known = type("Known", (), {"execute": False, "no_rescore": True, "lang": "en"})
    command.conclude(tmp_path, [row(1, number="CON"), row(2, number="com1"), row(3, number="s1")], RULES, {}, {}, known)
    names = {path.name.partition("-")[2] or path.name for path in (tmp_path / "feedback").iterdir()}
    assert names == {"k1.html", "k2.html", "s1.html"}


SCRIPT = '<script>alert(1)</script><img src=x onerror=alert(2)>"\'><a href="javascript:alert(3)">'


def test_pages_show_every_text_and_run_none(tmp_path):
    good = {"frechet": 3.0, "coverage": 0.9, "averaged": False, "precision": 0.9}
    rows = [
        row(i, runs={SCRIPT: run(i, i, quality=good), "b": run(i, i + 50, "dcgan", quality=good)}) for i in (1, 2, 3)
    ]
    rows[0] |= {"name": SCRIPT, "number": SCRIPT, "number_inside": SCRIPT, "course": SCRIPT, "source": SCRIPT}
    rows[0] |= {"problems": [SCRIPT], "answers": {SCRIPT: SCRIPT, "5.1": "=1+1", "5.²": "x"}, "language": "en"}
    rows[0]["exercises"] = {"5.2": {"state": "wrong", "sentence": SCRIPT, "suspects": [SCRIPT], "source": SCRIPT}}
    rows[1]["exercises"] = {"5.2": {"state": "not run", "sentence": "", "suspects": [], "source": ""}}
    rows[2] |= {"unreadable": SCRIPT, "runs": {}, "answers": {}}
    known = type("Known", (), {"execute": True, "no_rescore": False, "lang": "en"})
    command.conclude(
        tmp_path,
        rows,
        RULES,
        {class_of.number_of(2): {"comment": SCRIPT, "comments": ["well"]}},
        {"well": {"zh": "好"}},
        known,
    )
    written = [tmp_path / "class.html", tmp_path / "questions.html", *(tmp_path / "feedback").iterdir()]
    assert len(written) == 5
    for path in written:
        text = path.read_text("utf8")
        assert not re.search(r"<script|<img src=x|<a href=\"javascript|onerror=alert\(2\)>\"", text), path
        assert "default-src 'none'" in text
        assert not re.search(r"https?://(?!www\.w3\.org)", text), path
    assert "&lt;script&gt;" in (tmp_path / "class.html").read_text("utf8")
    feedback = (tmp_path / "feedback" / f"{class_of.number_of(2)}.html").read_text("utf8")
    assert "好" in feedback
    assert '<html lang="zh">' in feedback
    assert "已核对" in feedback
    table = (tmp_path / "grades.csv").read_text("utf-8-sig")
    assert "'=1" not in table  # answers are in no table
    assert all(
        not re.match("[=+@-]", cell) for line in csv.reader(io.StringIO(table)) for cell in line if not _number(cell)
    )
    header = (tmp_path / "nbgrader.csv").read_text("utf-8-sig").splitlines()[0]
    assert header == ",".join(rubric.NBGRADER)
    first = (tmp_path / "class.html").read_text("utf8")
    assert first.index("can") < first.index("feedback/")


def _number(cell):
    try:
        return bool(str(float(cell)))
    except ValueError:
        return False


def test_each_sentence_is_there_in_both_languages():
    english, chinese = pages.words()["en"], pages.words()["zh"]
    assert english.keys() == chinese.keys()
    for key in english:
        assert sorted(re.findall(r"{\w+", english[key])) == sorted(re.findall(r"{\w+", chinese[key])), key


def test_the_class_is_a_study(monkeypatch):
    monkeypatch.setenv("LABUTILS_PRESET", "quick")

    def numbers(i):
        return {
            "frechet": 10.0 + i,
            "coverage": 0.9 if i else 0.0,
            "precision": 0.8,
            "averaged": False,
            "samples": 10_000,
        }

    def trained(model, i, which):
        config = asdict(TrainConfig.preset(model, seed=i, epochs=10))
        return run(i, i, model, config=config, epochs=config["epochs"], quality=numbers(which) | {"averaged": True})

    rows = [row(i, runs={"a": trained("mlp", i, i), "b": trained("dcgan", i, i + 1)}) for i in range(6)]
    rows[5]["runs"]["a"]["verified"] = False
    found = json.loads(json.dumps(class_study.records(rows)))  # as records.json holds them
    assert len(found) == 11
    names = [record["row"] for record in study.records()]
    assert {record["row"] for record in found} == {"MLP, rate 1e-3", "DCGAN, plain"} <= set(names)
    assert "| MLP, rate 1e-3, averaged | 10 | 4 of 5 (" in study.markdown(study.table(found))
    assert study.compare("", found, "DCGAN, plain", "frechet", "lower", "MLP, rate 1e-3", "the end").alive[1] == (4, 5)
    lines = class_study.table(found, pages.words()["en"])
    assert [(line["runs"], line["alive"][:6]) for line in lines] == [(6, "6 of 6"), (5, "4 of 5")]
    said = class_study.claims(found, pages.words()["en"])
    assert len(said) == 3
    assert "by the class 0." in said[0]
    assert "by the lab's study 0." in said[0]
    assert "6 of 6 and 4 of 5 alive" in said[0]


def test_a_large_class_is_judged_by_the_interval_alone():
    """The exact test of 120 against 120 would take hours."""
    good = {"coverage": 0.9, "precision": 0.8, "averaged": False, "samples": 2_000}
    level = {"mlp": 20.0, "dcgan": 11.0}
    rows = [
        row(i, runs={m: run(i, i, m, quality=good | {"frechet": level[m] + i % 9}) for m in level}) for i in range(120)
    ]
    said = class_study.claims(class_study.records(rows), pages.words()["en"])
    assert "120 of 120 and 120 of 120 alive): holds" in said[0]
    assert "alive): undecided" in said[1].partition(";")[0] + said[1].partition(";")[2]


@pytest.mark.parametrize(("states", "shown"), [(("not run", "untouched"), "·"), (("right", "wrong"), "1 / 2")])
def test_exercises_that_nobody_looked_at_are_not_counted(tmp_path, states, shown):
    looked = {f"5.{i}": {"state": state, "sentence": "", "suspects": []} for i, state in enumerate(states, 1)}
    known = type("Known", (), {"execute": shown != "·", "no_rescore": True, "lang": None})
    command.conclude(tmp_path, [row(1, exercises=looked)], RULES, {}, {}, known)
    page = (tmp_path / "class.html").read_text("utf8")
    assert re.findall(r'<td class="n">([^<]*)</td>', page)[0] == shown
    assert "0 / 2" not in page


def test_feedback_names_no_other_student(tmp_path):
    rows = [row(1, runs={"a": run(1, 5)}), row(2, runs={"a": run(2, 5)})]
    known = type("Known", (), {"execute": False, "no_rescore": True, "lang": None})
    command.conclude(tmp_path, rows, RULES, {}, {}, known)
    page = (tmp_path / "class.html").read_text("utf8")
    assert '<html lang="zh">' in page  # that of most hand-ins
    assert "班级：2 份作业" in page
    assert f"{class_of.number_of(2)} 的生成器是同一个函数" in page
    assert not re.search(
        r"(?i)\b(the|verified|flagged|student)\b", re.sub(r"<[^>]*>", "", page.partition("</style>")[2])
    )
    for mine, other in ((1, 2), (2, 1)):
        text = (tmp_path / "feedback" / f"{class_of.number_of(mine)}.html").read_text("utf8")
        assert class_of.number_of(other) not in text
        assert "另一份作业" in text
