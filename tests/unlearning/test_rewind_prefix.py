"""What a rewind leaves: which checkpoints, with which shares, and what the next plan may start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planned import SMALL, known, left_of

from expunge.privacy.forget_sets import build_forget_set
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.training import Trajectory
from expunge.training.randomness import derived_seed
from expunge.unlearning.calibration import candidate_ways
from expunge.unlearning.candidates import PlanningSettings
from expunge.unlearning.methods import apply, method_of
from expunge.unlearning.plan import UnlearningPlan
from expunge.unlearning.planner import make_plan
from expunge.unlearning.rewind_prefix import RewindPrefix, left_behind, with_loan
from expunge.unlearning.rewind_starts import LENT
from expunge.unlearning.share_curve import share_before

START = 33


class After:
    """The model after a rewind for ten records, and the prefix that it left."""

    def __init__(self, world: dict[str, Any], folder: Path, method: str) -> None:
        self.world, self.folder = world, folder
        old, table = world["trajectory"], world["table"]
        self.start = min((c.step for c in old.kept), key=lambda step: abs(step - START))
        self.first = tuple(world["hard"].record_ids[:10])
        self.retain = table.without(self.first)
        strength = 0.5 if method == "unrolled_rewind" else None
        made = apply(
            method_of(method, strength), old, self.retain, self.start, derived_seed(4, method), folder / method, {},
            forget=table.select(self.first),
        )  # fmt: skip
        self.new: Trajectory = made.following(old, self.start + 1)
        prefix = left_behind(
            old, self.new, self.start, method == "unrolled_rewind", {"first": self.first, "none": ()},
            world["losses"], None, "run-1", "2026-02-09",
        )  # fmt: skip
        assert prefix is not None
        self.prefix: RewindPrefix = prefix

    @property
    def joined(self) -> Trajectory:
        folder = self.folder / "joined"
        folder.mkdir(exist_ok=True)
        made = with_loan(self.new, self.prefix, folder)
        for checkpoint in (*made.kept, made.final):
            home = self.world["trajectory"].directory if checkpoint.step in made.lent else self.new.directory
            (folder / checkpoint.file).write_bytes((home / checkpoint.file).read_bytes())
        return made

    def plan(self, trajectory: Trajectory, predictor: Any = "known", **settings: Any) -> UnlearningPlan:
        norms = score_trajectory(self.new, self.retain, score_trajectory(self.world["trajectory"], self.world["table"]))
        losses = trajectory_losses(norms, self.new, 8, 1.0)
        told = known(self.world).model_copy(update={"data_fingerprint": None}) if predictor == "known" else predictor
        chosen = build_forget_set("records", losses, record_ids=self.retain.record_ids[40:52])
        return make_plan(chosen, {}, losses, trajectory, told, PlanningSettings(**settings), model_version="m 2")


@pytest.fixture(scope="module")
def plain(world: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> After:
    return After(world, tmp_path_factory.mktemp("plain"), "rewind")


@pytest.fixture(scope="module")
def unrolled(world: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> After:
    return After(world, tmp_path_factory.mktemp("unrolled"), "unrolled_rewind")


def test_it_is_what_lies_before_the_start_with_the_share_spent_by_then(plain: After) -> None:
    old, losses = plain.world["trajectory"], plain.world["losses"]
    assert [c.step for c in plain.prefix.checkpoints] == [c.step for c in old.kept if c.step <= plain.start]
    assert plain.prefix.request_ids == ("first",) and not set(plain.prefix.record_ids) & set(plain.first)
    for checkpoint, share in plain.prefix.of_request("first"):
        assert share == pytest.approx(share_before(losses, plain.first, checkpoint.step))
    assert plain.prefix.of_request("other") == ()
    assert RewindPrefix.from_manifest(plain.prefix.manifest()) == plain.prefix
    text = str(plain.prefix.manifest())
    assert not any(repr(record) in text for record in plain.first)


def test_a_loan_changes_neither_manifest_nor_digest(plain: After) -> None:
    joined = plain.joined
    assert joined.digest == plain.new.digest and joined.manifest() == plain.new.manifest()
    assert {c.step for c in joined.kept} == {c.step for c in (*plain.prefix.checkpoints, *plain.new.kept)}
    joined.verify()
    other = replace(plain.prefix, checkpoints=tuple(replace(c, sha256="0" * 64) for c in plain.prefix.checkpoints))
    assert with_loan(plain.new, other, None) is plain.new


def test_after_a_plain_rewind_the_plan_offers_it_and_says_so(plain: After) -> None:
    made = plain.plan(plain.joined)
    assert made.method == "unrolled_rewind" and made.rewind_step is not None
    offered = [c for c in made.alternatives if c.method == "rewind"]
    assert {c.rewind_step for c in offered} >= {c.step for c in plain.prefix.checkpoints if c.step}
    assert all((LENT in c.why) == (c.rewind_step <= plain.start) for c in offered)
    early = plain.plan(plain.joined, method="rewind")
    assert early.rewind_step is not None and early.rewind_step <= plain.start and left_of(early.rewind_step) <= 0.1
    assert any("lies in a restricted prefix, which is destroyed by 2026-02-09" in w for w in early.warnings)


def test_without_it_only_the_new_segment_is_left_and_the_plan_says_so(plain: After) -> None:
    made = plain.plan(plain.new, target=0.5)
    assert all(c.rewind_step > plain.start for c in made.alternatives if c.rewind_step is not None)
    assert any(f"checkpoints up to step {plain.start}: a rewind can start only" in w for w in made.warnings)
    assert not any("restricted" in w for w in made.warnings)


def test_after_an_unrolled_rewind_nothing_is_brought_back(unrolled: After) -> None:
    """Only what the pilots say is enough for the earlier records too, and no push is read across the correction."""
    made = unrolled.plan(unrolled.joined)
    ways = [c for c in (made, *made.alternatives) if c.rewind_step is not None]
    assert "unrolled_rewind" not in {c.method for c in ways}
    lent = {c.rewind_step for c in ways if c.rewind_step <= unrolled.start}
    assert lent and all(left_of(step) <= 0.1 for step in lent)
    assert any("no unrolled rewind is offered" in w for w in made.warnings)
    assert all(way.method != "unrolled_rewind" for way in candidate_ways(unrolled.joined, SMALL))
    blind = unrolled.plan(unrolled.joined, predictor=None, method="rewind")
    assert blind.rewind_step is not None and blind.rewind_step > unrolled.start
    assert any("could bring back" in w for w in blind.warnings)
    # Pilots of those checkpoints alone, and none enough: a rewind that is asked for takes one that has no pilots.
    told = known(unrolled.world).model_copy(update={"data_fingerprint": None})
    early = [
        pilot.model_copy(update={"candidates": tuple(c for c in pilot.candidates if c.amount <= unrolled.start)})
        for pilot in told.pilots
    ]
    told = told.model_copy(update={"pilots": tuple(early)})
    asked = unrolled.plan(unrolled.joined, predictor=told, method="rewind", target=1e-3)
    assert asked.rewind_step is not None and asked.rewind_step > unrolled.start


def test_a_second_run_cuts_it_and_both_requests_wait_for_it(plain: After, unrolled: After) -> None:
    second = plain.retain.record_ids[40:52]
    losses = plain.world["losses"]
    p = [c.step for c in plain.prefix.checkpoints][-2]
    cut = left_behind(
        plain.joined, plain.new, p, False, {"second": second}, losses, plain.prefix, "run-2", "2026-02-01"
    )
    assert cut is not None and cut.checkpoints == plain.prefix.checkpoints[:-1]
    assert cut.request_ids == ("second", "first") and cut.corrected_at is None
    assert cut.parents == (plain.world["trajectory"].digest, plain.new.digest)
    # A start in the new segment: the first request's share is known for those that saw its records, and no others.
    late = [c.step for c in plain.new.kept][1]
    longer = left_behind(
        plain.joined, plain.new, late, True, {"second": second}, losses, plain.prefix, "run-2", "2026-02-01"
    )
    assert longer is not None and longer.corrected_at == late
    assert [c.step for c, _ in longer.of_request("first")] == [c.step for c in plain.prefix.checkpoints]
    assert [c.step for c, _ in longer.of_request("second")] == [c.step for c in plain.joined.kept if c.step <= late]
    # Where an earlier run had corrected: a plain start after that leaves the break where it was, one before heals it.
    for start, broken in ((late, unrolled.start), (p, None)):
        again = left_behind(
            unrolled.joined, unrolled.new, start, False, {"second": second}, losses, unrolled.prefix, "run-2",
            "2026-02-01",
        )  # fmt: skip
        assert again is not None and again.corrected_at == broken
