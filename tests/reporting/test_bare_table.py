"""Reports of tables typed in from two published seed studies, and errors of tables that are not what they should be."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.report import main
from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.values import ReportError
from tests.reporting.test_seeds import leads, section, seed_page, summary

DATA = Path(__file__).parent / "data"
ZLPR, FOCAL = "densenet121-zlpr", "efficientnet_b2-focal"


def read(name):
    study = from_metrics(DATA / f"{name}.csv")
    return study, study.configurations[0]


def rows(markdown):
    """Return the cells of the first table of `markdown`, keyed by their first column."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in [cells[0], *cells[2:]]}


@pytest.mark.parametrize("name", [ZLPR, FOCAL])
def test_every_number_of_the_table_is_printed_as_it_was_typed(name):
    typed = pd.read_csv(DATA / f"{name}.csv", dtype="str")
    study, results = read(name)
    overall, classes = (
        rows(section(study, results, title)) for title in ("Whole test set by seed", "AUROC by class and seed")
    )
    seeds = sorted(typed["seed"].unique())
    assert classes["Class"][1 : 1 + len(seeds)] == [f"Seed {s}" for s in seeds]
    for row in typed.itertuples(index=False):
        if row[4] == "macro":
            column = {"loss": f"Loss ({results.loss})", "auroc": "Macro AUROC", "f1": "Macro F1"}[row.metric]
            assert overall[row.seed][overall["Seed"].index(column)] == row.value
        else:
            assert classes[row[4]][1 + seeds.index(row.seed)] == row.value
    assert len(typed) == len(seeds) * (3 + 14)


def test_mean_and_spread_over_seeds():
    study, results = read(ZLPR)
    overall = rows(section(study, results, "Whole test set by seed"))
    assert overall["**Mean ± SD**"] == ["1.6288 ± 0.0038", "0.8473 ± 0.0010", "0.3726 ± 0.0070"]
    study, results = read(FOCAL)
    assert rows(section(study, results, "Whole test set by seed"))["**Mean ± SD**"][1] == "0.8426 ± 0.0049"


ZLPR_BEST = {
    "Atelectasis": ("32", "0.8153"),
    "Cardiomegaly": ("22", "0.9391"),
    "Consolidation": ("32", "0.7793"),
    "Edema": ("42", "0.8957"),
    "Effusion": ("32", "0.9024"),
    "Emphysema": ("22", "0.9668"),
    "Fibrosis": ("12", "0.8619"),
    "Hernia": ("12", "0.9979"),
    "Infiltration": ("32", "0.7070"),
    "Mass": ("42", "0.9068"),
    "Nodule": ("12", "0.7814"),
    "Pleural_Thickening": ("42", "0.8015"),  # the publication names seed 22, whose 0.8012 is less
    "Pneumonia": ("12", "0.7009"),
    "Pneumothorax": ("22", "0.8881"),
}
FOCAL_BEST = {
    "Atelectasis": ("42", "0.8168"),
    "Cardiomegaly": ("22", "0.9355"),
    "Consolidation": ("42", "0.7799"),
    "Edema": ("42", "0.9064"),
    "Effusion": ("42", "0.9032"),
    "Emphysema": ("32/42", "0.9612"),
    "Fibrosis": ("42", "0.8177"),
    "Hernia": ("32", "0.9804"),
    "Infiltration": ("22", "0.7094"),
    "Mass": ("42", "0.8974"),
    "Nodule": ("42", "0.7848"),
    "Pleural_Thickening": ("22", "0.8021"),
    "Pneumonia": ("42", "0.7338"),
    "Pneumothorax": ("22", "0.8834"),
}


@pytest.mark.parametrize(("name", "expected"), [(ZLPR, ZLPR_BEST), (FOCAL, FOCAL_BEST)])
def test_best_seed_of_every_class(name, expected):
    found = rows(section(*read(name), "Best seed by class"))
    assert {c: tuple(row[:2]) for c, row in found.items() if c != "Class"} == expected


def test_seeds_and_the_classes_they_lead():
    assert leads(*read(ZLPR)) == [
        "Seed 12 has the highest AUROC in 4 of 14 classes: Fibrosis, Hernia, Nodule, and Pneumonia.",
        "Seed 22 has the highest AUROC in 3 of 14 classes: Cardiomegaly, Emphysema, and Pneumothorax.",
        "Seed 32 has the highest AUROC in 4 of 14 classes: Atelectasis, Consolidation, Effusion, and Infiltration.",
        "Seed 42 has the highest AUROC in 3 of 14 classes: Edema, Mass, and Pleural Thickening.",
    ]
    assert leads(*read(FOCAL)) == [
        "Seed 22 has the highest AUROC in 4 of 14 classes: Cardiomegaly, Infiltration, Pleural Thickening, and "
        "Pneumothorax.",
        "Seed 32 has the highest AUROC in 1 of 14 classes: Hernia; it ties with seed 42 in Emphysema.",
        "Seed 42 has the highest AUROC in 8 of 14 classes: Atelectasis, Consolidation, Edema, Effusion, Fibrosis, "
        "Mass, Nodule, and Pneumonia; it ties with seed 32 in Emphysema.",
    ]


def test_a_table_without_intervals_claims_nothing_about_noise():
    text = " ".join(summary(*read(ZLPR)))
    assert "**This table cannot show whether the seeds differ by more than noise**" in text
    assert "no intervals" in text
    assert "robust" not in text


def write(path, content):
    path.write_text(content)
    return path


HEADER = "model,loss,seed,part,class,metric,value"


def bare(tmp_path, *lines, header=HEADER):
    return write(tmp_path / "table.csv", "\n".join([header, *lines]) + "\n")


def test_intervals_of_a_table_are_used(tmp_path):
    lines = [
        f"m,l,{seed},test,{name},auroc,{value},{value - 0.02:.3f},{value + 0.02:.3f},200,20"
        for name in ("macro", "A", "B")
        for seed, value in ((1, 0.800), (2, 0.802), (3, 0.901 if name == "B" else 0.804))
    ]
    study = from_metrics(bare(tmp_path, *lines, header=HEADER + ",ci_low,ci_high,n,n_positive"))
    text = " ".join(summary(study, study.configurations[0]))
    assert "The standard error of the test set (0.0102) is 5.1 times the SD over seeds (0.0020)" in text
    assert "The intervals of all seeds overlap in 1 of 2 classes; overlap is not a test" in text
    assert "cannot show whether" in text


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_english_for_one_two_and_more_seeds(tmp_path, n_seeds):
    lines = [f"m,l,{s},test,{c},auroc,0.8{s}" for s in range(n_seeds) for c in ("macro", "A_B", "C")]
    study = from_metrics(bare(tmp_path, *lines))
    results = study.configurations[0]
    text = "\n".join(summary(study, results))
    if n_seeds == 1:
        assert text == "1 seed: the effect of the training seed cannot be estimated."
        assert "Mean ± SD" not in section(study, results, "Whole test set by seed")
    else:
        assert f"Seed {n_seeds - 1} has the highest AUROC in 2 of 2 classes: A B and C." in text
        assert "Seed 0 has the highest AUROC in no class alone." in text
    assert "1 seeds" not in text


def test_tied_seeds(tmp_path):
    lines = [f"m,l,{s},test,A,auroc,0.80004" for s in (1, 2)] + ["m,l,3,test,A,auroc,0.80001"]
    study = from_metrics(bare(tmp_path, *lines))
    assert [row.best for row in seed_page(study, study.configurations[0]).rows] == [[1, 2, 3]]
    assert leads(study, study.configurations[0])[0] == (
        "Seed 1 has the highest AUROC in no class alone; it ties with seeds 2 and 3 in A."
    )


def test_three_networks_at_one_value_are_a_tie_and_not_a_choice(tmp_path, monkeypatch):
    """Row 12 of what was measured: "Validation chooses cnn-ce" of three at 0.8977."""
    lines = [f"{m},ce,1,{part},macro,auroc,0.8977" for m in ("cnn", "densenet", "resnet") for part in ("val", "test")]
    path = bare(tmp_path, *lines, "vgg,ce,1,val,macro,auroc,0.89", "vgg,ce,1,test,macro,auroc,0.95")
    study = from_metrics(path)
    assert [r.key for r in study.tied] == ["cnn-ce", "densenet-ce", "resnet-ce"]
    monkeypatch.setattr("sys.argv", ["", "--metrics", str(path), "--out", str(tmp_path / "out")])
    main()
    text = (tmp_path / "out" / "README.md").read_text()
    tie = (
        "**cnn-ce**, **densenet-ce**, and **resnet-ce** tie for the highest validation macro AUROC of 4 configurations"
    )
    assert tie in text
    assert "validation cannot choose between them" in text
    assert "has the highest validation" not in text
    lines[0] = lines[0].replace("0.8977", "0.8978")
    untied = from_metrics(bare(tmp_path, *lines))
    assert (untied.tied, untied.chosen.key) == ((), "cnn-ce")


ROW = "m,l,1,test,A,auroc,0.8"


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([ROW], "model,loss,seed,part,klass,metric,value", "no column class"),
        ([], HEADER, "a header and no rows"),
        ([ROW, "m,l,2,test,A,auroc,high"], HEADER, "line 3, column value: 'high' must be a number or empty"),
        ([ROW, "m,l,2,test,A,auroc,inf"], HEADER, "line 3, column value"),
        (
            [ROW, "m,l,2,test,A,auroc,1.2"],
            HEADER,
            "line 3, column value: '1.2' must be between 0 and 1 for auroc",
        ),
        ([ROW, ROW], HEADER, "line 3: a second row for m, l, 1, test, A, auroc"),
        (["m,l,one,test,A,auroc,0.8"], HEADER, "line 2, column seed: 'one' must be a whole number or 'mean'"),
        (["m,l,1,tune,A,auroc,0.8"], HEADER, "line 2, column part: 'tune' must be train, val, or test"),
        (["../m,l,1,test,A,auroc,0.8"], HEADER, "line 2, column model"),
        (["m,l,1,test,,auroc,0.8"], HEADER, "line 2, column class: '' must be a name"),
        ([ROW + ",0.9,0.7"], HEADER + ",ci_low,ci_high", "line 2, column ci_low"),
        (["a,b-c,1,test,A,auroc,0.8", "a-b,c,1,test,A,auroc,0.8"], HEADER, "are both written 'a-b-c'"),
    ],
)
def test_errors_name_the_column_or_the_line(tmp_path, lines, header, message):
    path = bare(tmp_path, *lines, header=header)
    with pytest.raises(ReportError) as error:
        from_metrics(path)
    assert message in str(error.value)
    assert "table.csv" in str(error.value)


def test_a_missing_file_is_an_error_without_a_traceback(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--metrics", str(tmp_path / "none.csv"), "--out", str(tmp_path / "out")])
    assert stop.value.code == 1
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize("spelled", [[], ["--out", "reports"], ["--out", "./reports/"], ["--out", "reports/mine"]])
def test_a_table_never_overwrites_the_reports_of_the_study(spelled, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["--metrics", str(DATA / f"{ZLPR}.csv"), *spelled])
    assert "--out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--metrics", str(DATA / f"{ZLPR}.csv"), "--out", str(tmp_path / "reports")])
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["--metrics", str(DATA / f"{ZLPR}.csv"), "--out", "file"])
    assert "--out file: must be a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--metrics", str(tmp_path), "--out", "out"])
    assert "cannot be read" in capsys.readouterr().err


def test_a_mean_with_a_missing_seed_is_missing(tmp_path):
    lines = ["m,l,1,test,A,auroc,0.8", "m,l,2,test,A,auroc,"]
    results = from_metrics(bare(tmp_path, *lines)).configurations[0]
    assert results.get("auroc", "A").value != results.get("auroc", "A").value


def test_a_mean_that_is_given_is_kept(tmp_path):
    lines = ["m,l,1,test,A,auroc,0.8", "m,l,2,test,A,auroc,0.9", "m,l,mean,test,A,auroc,0.86"]
    assert from_metrics(bare(tmp_path, *lines)).configurations[0].get("auroc", "A").value == 0.86


def test_what_few_seeds_say_of_all_seeds():
    # By hand from 0.8483, 0.8468, 0.8479, 0.8462: t(3, 0.975) = 3.1824, chi2(3) quantiles 9.3484 and 0.2158.
    text = summary(*read(ZLPR))[0]
    assert "0.8473 ± 0.0010 (mean ± SD of 4 seeds)" in text
    assert "mean over all seeds in [0.8458, 0.8488]" in text
    assert "their SD in [0.0005, 0.0036]" in text


def test_nothing_of_the_users_is_written_over(tmp_path, capsys, blank_figures):
    table, out = tmp_path / "metrics.csv", tmp_path / "pages"
    shutil.copy(DATA / f"{ZLPR}.csv", table)
    out.mkdir()
    (out / "README.md").write_text("mine")
    for folder, told in ((tmp_path, "holds "), (out, "pages: holds README.md; must be empty, or hold the pages of")):
        with pytest.raises(SystemExit, match="2"):
            main(["--metrics", str(table), "--out", str(folder)])
        assert told in capsys.readouterr().err
    assert (out / "README.md").read_text() == "mine"
    (out / "README.md").unlink()
    for _ in range(2):  # an earlier report is replaced
        main(["--metrics", str(table), "--out", str(out)])
