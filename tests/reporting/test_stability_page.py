"""The page about stability for a patient: its numbers, its names, and what it says of one seed."""

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipeline.reporting.loading import load_study
from pipeline.reporting.views import stability
from pipeline.reporting.views.errors import decisions
from tests.reporting.loaded import load_once
from tests.reporting.test_pages import check_page
from tests.reporting.test_pseudonyms import make_real


def page(study) -> str:
    """Render, check and return the page."""
    folder = Path("reports")
    written = stability.render(study, folder)
    (folder / "README.md").touch()
    text = written[0].read_text()
    check_page(written[0], text)
    return re.sub(" +", " ", text)


def test_decisions_by_hand(here):
    study = load_once(here)
    found = stability.view(study, study.subject)
    made = decisions(study, study.subject)
    kept = made.called[:, :, made.decided]
    pairs = list(combinations(range(len(kept)), 2))
    differ = [(kept[a] != kept[b]) for a, b in pairs]
    by_image = [d.any(axis=-1) if study.task == "multiclass" else d.mean(axis=-1) for d in differ]
    assert found.flips.value == pytest.approx(np.mean(by_image))
    assert found.answers.pairs.value == pytest.approx(np.mean([d.any(axis=-1) for d in differ]))
    assert found.n_disputed == len(set(made.rows[np.any(differ, axis=(0, 2))].tolist()))
    p = made.probabilities[:, :, made.decided]
    assert found.log_ratio.value == pytest.approx(np.log(p.max(axis=0) / p.min(axis=0)).mean(), rel=1e-5)
    own = next(row for row in found.configurations if row.key == study.subject.key)
    assert (own.flips, own.variation) == (found.flips, pytest.approx(found.variation))
    assert found.ensembles[0].flips.value == pytest.approx(found.flips.value)
    text = page(study)
    for row in found.rows:
        assert f"| {row.name} | {row.positives} | {100 * row.of.flips.value:.1f} %" in text


def test_listed_images_are_those_that_seeds_call_differently(here):
    study = load_once(here)
    made = decisions(study, study.subject)
    names = dict(zip(study.samples["sample_id"], study.samples["row"]))
    found = stability.view(study, study.subject).disputed
    assert found
    for image in found:
        place = made.rows.tolist().index(names[image.image])
        for name, seeds, low, high in image.disputed:
            k = made.classes.index(name)
            assert seeds == made.called[:, place, k].sum()
            given = made.probabilities[:, place, k]
            assert (low, high) == (min(given), max(given))
        assert image.answers == len({tuple(c) for c in made.called[:, place][:, made.decided]})
    assert [i.answers for i in found] == sorted((i.answers for i in found), reverse=True)


def test_no_name_of_a_real_image_or_patient(make):
    study = load_study(make_real(make()))
    text = page(study)
    assert "HB1" not in text
    assert "ward" not in text
    assert re.search(r"\| row \d+ \([0-9a-f]+\) \|", text)
    assert "pseudonym" in text


def test_one_seed_cannot_tell(make):
    study = load_study(make(replicates=()))
    text = page(study)
    assert "has one seed, so it cannot be told what another seed would make of the same patient" in text
    assert "## By class" not in text


def test_a_seed_without_finite_logits_is_left_out(here):
    study = load_once(here)
    p = study.subject.predictions
    broken = p.test_logits.copy()
    broken[0, 0, 0] = np.nan
    results = replace(study.subject, predictions=replace(p, test_logits=broken))
    found = stability.view(study, results)
    assert found is None or len(found.made.seeds) == len(study.subject.seeds) - 1


@pytest.mark.pictures
def test_the_figure_is_drawn(make):
    study = load_study(make())
    written = stability.render(study, Path("reports"))
    assert written[1].stat().st_size > 10_000
