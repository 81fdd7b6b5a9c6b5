"""Two revisions of a study side by side: a repository of git in which the reports are committed."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from pipeline.commands import compare
from pipeline.reporting import revisions
from pipeline.reporting.loading import load_study
from pipeline.reporting.revisions import beside, changes, read_revision
from pipeline.reporting.summary import table
from pipeline.study.errors import UserError
from pipeline.study.files import DATASET, EVALUATIONS, SAMPLES, write_csv
from pipeline.study.predictions import Predictions

SCORING = {"draws": 200, "confidence": 0.95, "seed": 0}


def git(*arguments):
    done = subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=e", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


class Kept:
    """What a revision's DVC cache would give, from a folder."""

    def __init__(self, folder):
        self.folder = folder

    def read(self, path):
        return (self.folder / path).read_bytes()


@pytest.fixture
def two(tmp_path, monkeypatch, written_studies, settings):
    """A repository with the study committed, and a working directory in which densenet-bce is a little worse."""
    monkeypatch.chdir(tmp_path)
    study = settings("multilabel", losses=("bce",), replicates=())
    written_studies(tmp_path, "multilabel", study)
    Path("params.yaml").write_text(json.dumps(study.model_dump(mode="json", exclude_unset=True)))
    write_csv(revisions.METRICS, table(load_study(study)))
    git("init", "-q", "-b", "main")
    git("add", "params.yaml", "reports")
    git("commit", "-qm", "first")
    kept = tmp_path / "kept"
    for part in ("evaluations", "ensembles", "data"):
        shutil.copytree(part, kept / part)
    monkeypatch.setattr(revisions, "_Tracked", lambda commit: Kept(kept))
    file = EVALUATIONS / "densenet-bce/predictions.npz"
    saved = Predictions.load(file)
    noise = np.random.default_rng(3).normal(0, 3, saved.test_logits.shape).astype(np.float32)
    replace(saved, test_logits=saved.test_logits + noise).save(file)
    return tmp_path


def rows_of(first="main", second="workspace"):
    return {row.name: row for row in beside(read_revision(first), read_revision(second), SCORING, 0.005)}


def test_a_difference_is_that_of_the_predictions_and_its_interval_that_of_paired_draws(two):
    rows = rows_of()
    assert list(rows) == ["densenet-bce", "small_cnn-bce", "chosen ensemble"]
    before, after = (
        Predictions.load(Path(where) / EVALUATIONS / "densenet-bce/predictions.npz") for where in ("kept", ".")
    )

    def auroc(predictions, weights=None):
        """Mean over seeds of the macro AUROC of images that are drawn so many times, by scikit-learn."""
        drawn = np.repeat(np.arange(len(predictions.test_rows)), 1 if weights is None else weights)
        truth = predictions.test_targets[drawn]
        return np.mean([roc_auc_score(truth, each[drawn], average="macro") for each in predictions.test_logits])

    row = rows["densenet-bce"]
    difference = auroc(after) - auroc(before)
    assert row.difference.value == pytest.approx(difference, abs=1e-9)
    # One seed on either side: the interval is about patients alone, drawn here anew, 60 times.
    names, index = np.unique(before.test_patients, return_inverse=True)
    rng = np.random.default_rng(1)
    draws = []
    for _ in range(60):
        weights = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[index]
        draws.append(auroc(after, weights) - auroc(before, weights))
    half = student.ppf(0.975, len(names) - 1) * np.nanstd(draws, ddof=1)
    assert (row.difference.high - row.difference.low) / 2 == pytest.approx(half, rel=0.35)
    assert row.note == ""
    same = rows["small_cnn-bce"]
    assert (same.difference.value, same.note) == (0, "the same order of images")


def test_what_is_not_the_same_is_not_paired_and_the_reason_is_said(two):
    samples = pd.read_csv(SAMPLES, keep_default_na=False)
    info = json.loads(DATASET.read_text())
    file = EVALUATIONS / "densenet-bce/predictions.npz"
    saved = Predictions.load(file)

    def note():
        row = rows_of()["densenet-bce"]
        assert np.isfinite(row.difference.value)
        assert np.isnan([row.difference.low, row.difference.high, row.p]).all()
        return row.note

    renamed = samples.assign(
        sample_id=["x.png" if r == saved.test_rows[0] else s for r, s in zip(samples["row"], samples["sample_id"])]
    )
    write_csv(SAMPLES, renamed)
    n = len(saved.test_rows)
    assert note() == f"other test images: {n - 1} in common of {n} and {n}"
    write_csv(SAMPLES, samples)
    DATASET.write_text(json.dumps(info | {"source": {"fingerprint": "other", "root": "elsewhere"}}))
    assert note() == "the files of the data set differ, so the test images may"
    DATASET.write_text(json.dumps(info))
    flipped = saved.test_targets.copy()
    flipped[:3, 0] ^= 1
    replace(saved, test_targets=flipped).save(file)
    assert note() == "the labels of 3 test images differ"
    replace(saved, test_patients=np.array([f"p{i}" for i in range(n)])).save(file)
    assert note() == "the patients of the test images differ"
    file.write_bytes(b"not an array")
    assert "in a form that this version reads" in note()
    file.unlink()
    assert note() == "the predictions of workspace are not here"


def test_images_in_another_order_are_the_same_images(two):
    file = EVALUATIONS / "densenet-bce/predictions.npz"
    before, saved = rows_of()["densenet-bce"], Predictions.load(file)
    order = np.random.default_rng(0).permutation(len(saved.test_rows))
    moved = {f"test_{name}": getattr(saved, f"test_{name}")[order] for name in ("rows", "targets", "patients")}
    replace(saved, test_logits=saved.test_logits[:, order], **moved).save(file)
    after = rows_of()["densenet-bce"]
    assert after.difference.value == pytest.approx(before.difference.value, abs=1e-12)
    assert after.difference.low == pytest.approx(before.difference.low, abs=1e-9)


def test_a_revision_is_read_from_git_by_any_name_and_nothing_is_checked_out(two, capsys):
    git("tag", "v1")
    git("update-ref", "refs/exps/12/34/bulky-name", "HEAD")
    text = revisions.METRICS.read_text()
    revisions.METRICS.write_text(text.replace("small_cnn", "renamed"))
    before = {p: p.read_bytes() for p in two.rglob("*") if p.is_file() and ".git" not in p.parts}
    commit = git("rev-parse", "--short", "HEAD")
    for name in ("main", "v1", "HEAD", commit, "bulky-name"):
        read = read_revision(name)
        assert (read.name, read.commit) == (name, commit)
        assert [r.key for r in read.study.configurations] == ["densenet-bce", "small_cnn-bce"]
    rows = rows_of()
    assert rows["small_cnn-bce"].note == "not in workspace"
    assert rows["renamed-bce"].note == "not in main"
    compare.main(["main"])
    printed = capsys.readouterr().out
    assert "not in main" in printed
    assert max(map(len, printed.splitlines())) <= compare.WIDTH
    assert {p: p.read_bytes() for p in two.rglob("*") if p.is_file() and ".git" not in p.parts} == before


def test_other_data_sets_have_no_difference_and_long_reasons_fit_the_terminal(two, capsys):
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace('"drawn"', '"another_of_a_long_name"'))
    compare.main(["main"])
    printed = capsys.readouterr().out
    assert "other data sets: drawn and another_of_a_long_name." in " ".join(printed.split())
    assert printed.count("not paired") == 3
    assert max(map(len, printed.splitlines())) <= compare.WIDTH


@pytest.mark.parametrize("name", ["nowhere", "--help", "HEAD~9", "main; echo x"])
def test_no_such_revision_is_said(two, name):
    with pytest.raises(UserError, match="is no commit, branch, tag or experiment"):
        read_revision(name)


def test_a_revision_without_reports_is_said(two):
    git("rm", "-q", "-r", "--cached", "reports")
    git("commit", "-qm", "none")
    with pytest.raises(UserError, match=r"HEAD .* has no reports/metrics\.csv"):
        read_revision("HEAD")
    shutil.rmtree("reports")
    with pytest.raises(UserError, match=r"reports/metrics\.csv is missing"):
        read_revision("workspace")


def test_changed_settings():
    first = {"seed": 1, "train": {"lr": 0.1, "augment": {"flip": 0}}, "gone": [1]}
    second = {"seed": 2, "train": {"lr": 0.1, "augment": "none"}, "new": {}}
    assert list(changes(first, second)) == [
        ("seed", "1", "2"),
        ("train.augment.flip", "0", "—"),
        ("gone", "[1]", "—"),
        ("train.augment", "—", '"none"'),
        ("new", "—", "{}"),
    ]


@pytest.mark.parametrize("name", ["--output=taken", "-O", "--upload-pack=touch taken"])
def test_a_revision_that_looks_like_an_option_is_none(two, name):
    with pytest.raises(UserError):
        revisions.read_revision(name)
    assert not (two / "taken").exists()
