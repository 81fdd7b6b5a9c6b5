"""medmatrix compare with two files: what is printed, the page, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from pipeline.commands import compare
from tests.reporting.test_pages import check_page


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(names=("old.csv", "new.csv"), gains=(1.0, 2.5), seeds=1, patients=True, classes=("A_b", "5*x")):
        rng = np.random.default_rng(0)
        truth = (rng.random((90, len(classes))) < 0.4).astype(int)
        for name, gain in zip(names, gains):
            rows = []
            for seed in range(seeds):
                p = 1 / (1 + np.exp(-(gain * (truth - 0.5) + rng.normal(size=truth.shape))))
                table = pd.DataFrame({"id": [f"i{n}" for n in range(90)]})
                table = table.assign(**{f"truth_{c}": truth[:, k] for k, c in enumerate(classes)})
                table = table.assign(**{f"p_{c}": p[:, k] for k, c in enumerate(classes)})
                table = table.assign(seed=seed) if seeds > 1 else table
                rows.append(table.assign(patient=[f"p{n // 3}" for n in range(90)]) if patients else table)
            pd.concat(rows).to_csv(name, index=False)

    return write


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_sentence_and_the_page(files, capsys, tmp_path, seeds):
    files(seeds=seeds)
    compare.main(["old.csv", "new.csv", "--out", "page", "--draws", "200"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Compared on 90 images of 30 patients: old.csv has a macro AUROC of 0." in said
    assert ": new.csv is better. If it is claimed that new.csv is the better one, the probability" in said
    assert ("about two trained networks" in said) == (seeds == 1)
    page = tmp_path / "page/README.md"
    text = page.read_text()
    check_page(page, text)
    assert "| A_b " in text
    assert r"| 5\*x" in text
    assert "**new.csv is better**" in text
    assert ("0, 1, 2" in text) == (seeds == 3)
    table = pd.read_csv(tmp_path / "page/comparison.csv")
    assert table.loc[0, ["metric", "class"]].tolist() == ["auroc", "macro"]
    assert table["n"].eq(90).all()
    assert table.loc[0, "false_claim_flat"] == pytest.approx(table.loc[0, "p"] / 2)


def test_a_page_of_the_users_is_kept_and_ours_is_written_anew(files, capsys, tmp_path):
    """Asked for in the clone itself, the page has the name of the project's first page."""
    files()
    (tmp_path / "README.md").write_text("mine")
    for told in (1, 0):
        compare.main(["old.csv", "new.csv", "--out", ".", "--draws", "100"])
        assert capsys.readouterr().out.count("README.md was there: kept as README.md.1") == told
    assert (tmp_path / "README.md.1").read_text() == "mine"
    assert not (tmp_path / "README.md.2").exists()


def test_a_class_called_macro_has_its_own_numbers(files, capsys, tmp_path):
    tables = []
    for classes in (("A", "B"), ("macro", "overall")):
        files(classes=classes)
        compare.main(["old.csv", "new.csv", "--out", classes[0], "--draws", "100"])
        tables.append(pd.read_csv(tmp_path / classes[0] / "comparison.csv"))
    assert {"macro", "macro (class)", "overall (class)"} <= set(tables[1]["class"])
    back = {"macro (class)": "A", "overall (class)": "B"}
    pd.testing.assert_frame_equal(tables[0], tables[1].assign(**{"class": tables[1]["class"].replace(back)}))


def test_a_margin_and_images_taken_for_patients(files, capsys):
    files(gains=(2.0, 2.0), patients=False, classes=("x",))
    compare.main(["old.csv", "new.csv", "--margin", "0.4", "--draws", "200"])
    said = " ".join(capsys.readouterr().out.split())
    assert "has an AUROC of" in said
    assert "within noise" in said
    assert "a difference of 0.4 or more, in either direction, is rejected" in said
    assert "images are taken for independent" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["old.csv"], "old.csv is a file, and two are compared: name a second file"),
        (["old.csv", "main"], "'main' is not a file"),
        (["old.csv", "nwe.csv"], "'nwe.csv' is not a file"),
        (["none.csv", "nor.csv"], "none.csv: no such file"),
        (["old.csv", "new.csv", "--margin", "0"], "--margin 0: must be above 0"),
        (["old.csv", "new.csv", "--draws", "5"], "--draws 5: must be from 100"),
        (["old.csv", "new.csv", "--out", "old.csv"], "--out old.csv: must be a folder"),
        (["old.csv", "new.csv", "--out", ""], "--out '': must be a folder"),
        (["old.csv", "new.csv", "--draws", "100", "--out", "old.csv/x"], "error: old.csv/x: Not a directory"),
        (["main", "HEAD", "--out", "page"], "--out is for two files; main and HEAD are taken for revisions"),
    ],
)
def test_what_cannot_be_compared_is_refused(files, capsys, arguments, message):
    files()
    with pytest.raises(SystemExit):
        compare.main(arguments)
    assert message in capsys.readouterr().err
