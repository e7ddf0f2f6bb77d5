"""Who wrote alike: exact and near copies of answers, and of code. Always something to look at, never a verdict."""

import re
import unicodedata
from collections import Counter, defaultdict
from itertools import combinations

from labutils.course.grading.slices import shape_of

GRAM, LEAST, NEAR = 5, 40, 0.6  # characters of a piece, pieces of an answer that is compared, share of them in common
COMMON, MANY = 0.2, 12  # of a class, students: what so many write comes from the question, and counts for nothing
LEAST_PARTS, RARE = 60, 0.1  # of a program, parts; of a class, how many may have written the same one


def pieces(text: str) -> set[str]:
    """The pieces of five characters of a text, without spaces, marks and the width of letters; for Chinese too."""
    kept = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())
    return {kept[i : i + GRAM] for i in range(len(kept) - GRAM + 1)}


def answers(rows: list[dict]) -> list[dict]:
    """Pairs of students whose answers to a question are alike: {"question", "of": [key, key], "share"}, most first."""
    found = []
    for question in sorted({question for row in rows for question in row["answers"]}):
        texts = {row["key"]: pieces(row["answers"].get(question, "")) for row in rows if row["answers"]}
        count = Counter(piece for text in texts.values() for piece in text)
        limit = max(2, min(MANY, COMMON * len(texts)))
        own = {key: {piece for piece in text if count[piece] <= limit} for key, text in texts.items()}
        holders = defaultdict(list)
        for key, text in own.items():
            for piece in text:
                holders[piece].append(key)
        shared = Counter(pair for keys in holders.values() for pair in combinations(keys, 2))
        for (one, other), both in shared.items():
            least = min(len(own[one]), len(own[other]))
            if least >= LEAST and both / least >= NEAR:
                found.append({"question": question, "of": [one, other], "share": both / least})
        found += _same(question, texts, limit, {tuple(pair["of"]) for pair in found if pair["question"] == question})
    return sorted(found, key=lambda pair: -pair["share"])


def _same(question: str, texts: dict[str, set[str]], limit: float, known: set) -> list[dict]:
    """Long answers that are the same in more hands than `limit`, where no piece is anybody's own."""
    groups = defaultdict(list)
    for key, text in texts.items():
        if len(text) >= 2 * LEAST:
            groups[frozenset(text)].append(key)
    pairs = [pair for keys in groups.values() if len(keys) > limit for pair in combinations(keys[:8], 2)]
    return [{"question": question, "of": list(pair), "share": 1.0} for pair in pairs if pair not in known]


def programs(rows: list[dict], solutions: list[str]) -> list[dict]:
    """Pairs of students whose code for an exercise is one program under other names, and one that few wrote."""
    found, public = [], {shape_of(solution)[0] for solution in solutions}
    for number in sorted({number for row in rows for number in row["exercises"]}):
        groups, wrote = defaultdict(list), 0
        for row in rows:
            shape, parts = shape_of(row["exercises"].get(number, {}).get("source", ""))
            wrote += bool(parts)
            if parts >= LEAST_PARTS and shape not in public:
                groups[shape].append(row["key"])
        for keys in groups.values():
            if 1 < len(keys) <= max(2, RARE * wrote):
                found += [{"exercise": number, "of": list(pair)} for pair in combinations(keys, 2)]
    return found
