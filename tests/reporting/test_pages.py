"""Every page: well-formed, loads nothing, runs nothing, escapes what comes from outside, and says what it must."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import samples
from samples import EVENTS, EVIL, erasure

from expunge.evaluation.evidence import Evidence, OracleRecord
from expunge.privacy import GradientNorms
from expunge.reporting import artifact_pages as pages
from expunge.reporting.artifact_pages import HardRecord
from expunge.reporting.erasure_report import erasure_report, explain
from expunge.reporting.lineage_page import LineageEdge, LineageNode, lineage_page
from expunge.reporting.page import Markup, nested, page, table

VOID = {"meta", "br", "img", "link", "input", "hr"}
OPEN_ENDED = {"p", "li"}


class Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "img", "iframe", "object", "embed", "link", "base", "form", "video", "audio"}
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            assert name not in {"src", "xlink:href", "action", "srcset"}, (tag, name)
            if name == "href":  # to another file of the project, never to an address
                assert tag == "a" and re.fullmatch(r"(\.\./)*[\w-][\w./-]*", value or ""), (tag, value)
            if tag != "svg" or name != "xmlns":
                shown = name in {"title"}
                assert shown or "http" not in (value or ""), (tag, name, value)
            if name in {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "d", "points", "width", "height", "viewBox"}:
                assert not re.search(r"nan|inf|None", value or "", re.IGNORECASE), (tag, name, value)
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open[-4:])
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def checked(document: str) -> str:
    """The page's text, after everything that holds for every page."""
    assert document.startswith("<!DOCTYPE html>")
    parser = Checker()
    parser.feed(document)
    parser.close()
    assert not parser.open and {"html", "head", "title", "style", "body", "main", "h1"} <= set(parser.seen)
    lower = document.lower()
    assert "<script" not in lower and "@import" not in lower and "url(" not in lower and "<img" not in lower
    assert "\u202e" not in document
    assert not set(re.findall(r"https?://[^\"' <]*", document)) - {"http://www.w3.org/2000/svg"}
    document.encode("utf-8")
    return " ".join(" ".join(parser.text).split())


def losses_page(n: int = 1500) -> str:
    losses = samples.losses(n)
    rng = np.random.default_rng(0)
    hard = [
        HardRecord(i, EVIL, loss, rng.random((8, 8)) if k else None) for k, (i, loss) in enumerate(losses.hardest(5))
    ]
    return pages.losses_page(losses, hard)


PAGES: dict[str, Callable[[], str]] = {
    "losses": losses_page,
    "norms": lambda: pages.norms_page(samples.norms()),
    "trajectory": lambda: pages.trajectory_page(samples.manifest()),
    "trajectory without noise": lambda: pages.trajectory_page(samples.manifest(0, None)),
    "records": lambda: pages.record_table_page({"name": EVIL, "counts": {EVIL: 3}, "shape": (8, 8)}),
    "plan": lambda: pages.plan_page(samples.plan()),
    "retraining plan": lambda: pages.plan_page(
        samples.plan(method="retrain", rewind_step=None, attempts=(), alternatives=(), fallback_reason=EVIL)
    ),
    "run": lambda: pages.run_page(samples.run()),
    "evidence": lambda: pages.evidence_page(samples.evidence()),
    "decision": lambda: pages.decision_page(samples.decision(samples.evidence("untouched"))),
    "calibration": lambda: pages.calibration_page(samples.predictor()),
    "calibration that taught nothing": lambda: pages.calibration_page(samples.predictor(False)),
    "document": lambda: pages.document_page(EVIL, {"a": [{"x": EVIL}, {"y": None}], "b": {}, EVIL: float("inf")}),
    "erasure": lambda: erasure_report(erasure()),
    "erasure of everything": lambda: erasure_report(erasure("rich")),
    "lineage": lambda: lineage_page(EVIL, {EVIL: EVIL}, *samples.lineage(35), EVENTS),
}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_whole_and_harmless(name: str) -> None:
    document = PAGES[name]()
    text = checked(document)
    assert len(text) > 100
    assert document == PAGES[name](), "the same objects give the same bytes"


def test_hostile_text_arrives_as_text() -> None:
    shown = EVIL.replace("\u202e", "\ufffd")
    for name in (
        "losses",
        "norms",
        "trajectory",
        "records",
        "plan",
        "run",
        "evidence",
        "calibration",
        "erasure",
        "lineage",
    ):
        assert shown in checked(PAGES[name]()), name


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "oracle",
            "Forgotten, as far as tests can tell. By its answers on 64 records, this model cannot be told apart from",
        ),
        ("untouched", "Refused. The model did not pass every required test"),
        ("little", "Little was remembered. Hardly anything of 64 records"),
        ("small", "Not shown. The tests could not tell"),
    ],
)
def test_the_verdict_stands_at_the_top_in_words(kind: str, words: str) -> None:
    inputs = erasure(kind)
    text = checked(erasure_report(inputs))
    assert text.index(words) < text.index("The requests")
    assert inputs.promoted_version or "It has not been put into use." in text


def test_the_report_says_all_it_must() -> None:
    text = checked(erasure_report(erasure()))
    for words in (
        "What was planned, and what it took", "everything counted",
        "Can the tests be believed?", "half forgotten is noticed", "as expected",
        "What changed in the predictions", "snapshot abc", "What was destroyed", "none of the destroyed items",
        "before the records", "What this does not prove", "The guarantee is empirical", "Versions and seeds", "torch",
        "Level of evidence: oracle: judged against models retrained", " of 21, 1 is farthest)",
        "empirical: shown by tests, not proven",
    ):  # fmt: skip
        assert words in text, words
    document = erasure_report(erasure())
    assert document.count("<svg") >= 6 and "<details>" in document
    assert len(document.encode()) < 200_000 and len(erasure_report(erasure("rich")).encode()) < 400_000


def test_weaker_evidence_is_said_in_weaker_words() -> None:
    found: Evidence = samples.evidence().model_copy(update={"level": "oracle-free", "oracles": OracleRecord(count=3)})
    inputs = erasure(evidence=found)
    text = checked(erasure_report(inputs))
    assert "No trace found, on the weakest evidence." in text and "notice unsure head" in erasure_report(inputs)
    assert "the weakest kind of evidence" in text and "no model was retrained to compare with" in text
    few = {"level": "pool", "oracles": OracleRecord(count=3)}
    pool = erasure_report(erasure(evidence=samples.evidence().model_copy(update=few)))
    assert "a weaker comparison" in checked(pool) and "notice unsure head" in pool
    assert "Probably forgotten, on weaker evidence." in checked(pool) and "Only 3 comparison models" in checked(pool)
    for document, words in ((erasure_report(inputs), "weakest: no oracle"), (pool, "weaker: pool")):
        assert 'badge good">pass' not in document and f'badge weak">pass ({words})' in document


def test_a_retrained_model_is_exact() -> None:
    run = samples.run(method="retrain", rewind_step=None, looks=(), guarantee="exact", cost={"unlearning": 1.0})
    bad = samples.evidence("untouched")
    inputs = erasure("untouched", run=run, decision=samples.decision(bad, retrained=True), promoted_version="5")
    text = checked(erasure_report(inputs))
    assert "Forgotten by construction" in text and "The guarantee is empirical" not in text
    assert "a verdict of fail on one request says" in text and "verdict of fail" not in checked(
        erasure_report(erasure())
    )
    assert "never seen them, which is the strongest assurance" in explain(inputs)


def test_what_is_left_after_the_purge_is_said() -> None:
    nothing = erasure(purge=None, requests=[], limits=[], drift={}, versions={}, seeds={})
    assert "Nothing has been destroyed yet" in checked(erasure_report(nothing))
    assert "Without a request" in explain(nothing)
    found = {"destroyed": ["a", {"name": "b"}], "kept": [], "rescan": {"found": [EVIL]}, "extra": 1}
    text = checked(erasure_report(erasure(purge=found)))
    assert "found 1 item that should be gone" in text and "extra 1" in text
    assert (
        "2 stored items that came from the records were destroyed, and a search afterwards found 1 still there"
        in explain(erasure(purge=found))
    )
    assert "No search for leftovers" in checked(erasure_report(erasure(purge={"destroyed": []})))


def test_explain_is_plain_and_claims_no_more_than_was_shown() -> None:
    good, bad, none = explain(erasure()), explain(erasure("untouched")), explain(erasure("small"))
    assert good.startswith("3 requests asked that the model digit-reader forget 64 records; ")
    assert "not a proof" in good and "Version 5 now replaces version 4" in good and "took 78% of the work" in good
    assert "not forgotten" in bad and "has not been put into use" in bad and "not a proof" not in bad
    assert "did not pass every required test" in none
    for text in (good, bad, none):
        assert "\n" not in text
        assert not re.search(r"oracle|phi\b|p-value|MIA|AUC|Rényi|epsilon|null", text)
    unsound = samples.evidence().model_copy(
        update={"checks": [c.model_copy(update={"controls": {}, "gating": False}) for c in samples.evidence().checks]}
    )
    assert isinstance(explain(erasure(evidence=unsound)), str)


def test_destroyed_things_are_marked() -> None:
    nodes, edges = samples.lineage()
    document = lineage_page("t", {}, nodes, edges, EVENTS)
    text = checked(document)
    destroyed = [n for n in nodes if n.state == "destroyed"]
    assert document.count("<del>") == len(destroyed) == document.count('class="name struck"')
    assert document.count('class="node destroyed"') == len(destroyed) and text.count("✕ destroyed") == len(destroyed)
    assert f"{len(destroyed)} were destroyed" in text and "1 link to something that is not recorded" in text
    assert "c0ffee" * 10 in text and "2026-11-02T09:00:00Z request received import" in text
    trajectory = pages.trajectory_page(samples.manifest(5))
    assert trajectory.count("<del>") == 5 and "5 checkpoints of 12 are no part of it" in checked(trajectory)


def test_lineage_of_nothing_of_one_and_in_a_circle() -> None:
    assert "Nothing is recorded here" in checked(lineage_page("t", {}, [], [], []))
    one = LineageNode("a", "record", "only", "kept")
    assert "0 were destroyed, 1 was kept" in checked(lineage_page("t", {}, [one], [LineageEdge("a", "a")], []))
    two = [one, replace(one, id="b")]
    checked(lineage_page("t", {}, two, [LineageEdge("a", "b", "x"), LineageEdge("b", "a", "y")], []))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_records(n: int) -> None:
    ids = tuple(f"r{k}" for k in range(n))
    norms = GradientNorms(np.ones((n, 2), np.float32), ids, (0, 10))
    checked(pages.norms_page(norms))
    for value in (0.0, 1.0, 1e-300):
        losses = samples.flat_losses(value, n)
        text = checked(pages.losses_page(losses, [HardRecord(i, "0", x) for i, x in losses.hardest(5)]))
        assert "A score, not a guarantee" in text
    if n == 2:
        assert "do not separate the records" in checked(pages.losses_page(samples.flat_losses(1.0, 2), []))
    checked(pages.norms_page(GradientNorms(np.full((n, 2), np.nan, np.float32), ids, (0, 10))))


def test_empty_documents() -> None:
    checked(pages.trajectory_page({}))
    checked(pages.document_page("t", {}))
    checked(pages.record_table_page({}))
    checked(pages.run_page(samples.run(looks=(), cost={}, seconds=None)))
    nothing = Evidence(level="pool", claim="METHOD", checks=[], oracles=OracleRecord(count=0), words="none")
    assert "No test was run" in checked(pages.evidence_page(nothing))
    checked(pages.decision_page(samples.decision(nothing)))


def test_building_blocks() -> None:
    assert "&lt;b&gt;" in table(["h"], [["<b>"]]) and "<b>" in table(["h"], [[Markup("<b></b>")]])
    assert table(["h"], [], empty="Nobody.") == "<p class=note>Nobody.</p>"
    assert "and 1 more" in nested([{"a": k} for k in range(201)]) and "… 100 in all" in nested(list(range(100)))
    assert checked(page("T", ["<p>x</p>"], "sub")).endswith("T sub x")


def test_a_law_is_not_read_off_sets_that_only_retraining_forgot() -> None:
    told = samples.predictor()
    censored = [law.model_copy(update={"censored": 0.6}) for law in told.laws]
    shown = pages.calibration_page(told.model_copy(update={"laws": tuple(censored)}))
    assert "Not estimable here" in shown and "60%" in shown and "logarithmic" not in shown
    few = [law.model_copy(update={"censored": 0.1}) for law in told.laws]
    assert "logarithmic" in pages.calibration_page(told.model_copy(update={"laws": tuple(few)}))
