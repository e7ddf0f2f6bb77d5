"""What `python -m labutils handin` writes is what the grader reads."""

from labutils.course import handin
from labutils.course.grading import one, rubric
from labutils.course.grading.reader import Source

OPTIONS = {"execute": False, "rescore": False, "course": ""}


def test_a_students_own_hand_in_is_verified(desk, tmp_path):
    desk.answer({"5.1": "第 24 个周期。"})
    path = handin.write()
    options = OPTIONS | {"number": rubric.read_rubric(None).number, "work": str(tmp_path / "work")}
    row = one.row_of(Source(str(path)), options)
    assert (row["unreadable"], row["problems"]) == ("", [])
    assert [row[key] for key in ("number", "number_inside", "name", "course", "language")] == [
        *("2023000001", "2023000001", "王 小明", "gan-lab", "zh")
    ]
    assert row["answers"] == {"5.1": "第 24 个周期。", "5.2": ""}
    assert {run["as"]: run["verified"] for run in row["runs"].values()} == {"mlp": True, "dcgan": True}
    states = {check["check"]: check["state"] for run in row["runs"].values() for check in run["findings"]}
    assert states.pop("steps") == "open"  # these runs saw other images
    assert set(states.values()) == {"ok"}
    assert rubric._late(row["made"], rubric.read_rubric(None)) == 0
    assert not (tmp_path / "work").exists() or not list((tmp_path / "work").iterdir())
