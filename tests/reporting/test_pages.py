"""What holds for every page, for both tasks, for complete and for damaged studies."""

import contextlib
import itertools
import json
import math
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.ensemble import ensemble
from pipeline.report import write_reports
from pipeline.reporting import english, page
from pipeline.reporting.bare_table import from_metrics
from pipeline.reporting.figures import overview, style
from pipeline.reporting.loading import load_study
from pipeline.reporting.registry import PAGES
from pipeline.reporting.values import NO_TABLE, ReportError
from pipeline.reporting.views import methods, readme, shared
from pipeline.study.files import AUDIT, ENSEMBLES, EVALUATIONS, PROBES, write_csv, write_json
from pipeline.study.predictions import METRIC_COLUMNS
from pipeline.uncertainty.comparisons import COLUMNS
from tests.blank import BLANK
from tests.forked import ALONE
from tests.reporting.loaded import load_once

ROOT = Path(__file__).parents[2]
PAGE_WIDTH = 896
FIRST_PAGE = 700
"""Words of the first page of a study of ordinary size: two screens."""
COARSE = 45
"""Dots per inch of figures that are painted to be compared."""
LINK = re.compile(r"\]\(([^)]+)\)")


def pages(folder):
    return {path: path.read_text() for path in sorted(folder.rglob("*.md"))}


def check_page(path, text):
    assert text.startswith("# ")
    assert text.endswith("\n")
    assert "\n\n\n" not in text
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|NaN", text), re.search(r".*(\bnan\b|\bNone\b|\binf\b|NaN).*", text)[
        0
    ]
    assert not re.search(r"\b1 (seeds|classes|images|patients|trainings|recipes|epochs|files)\b", text)
    assert "/tmp" not in text
    for target in LINK.findall(text):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            linked = (path.parent / file if file else path).resolve()
            assert linked.is_file(), f"{path}: {target}"
            assert not anchor or anchor in anchors(linked.read_text()), f"{path}: {target}"
    for before, line, after in zip(["", *text.splitlines()], [*text.splitlines()], [*text.splitlines()[1:], ""]):
        assert not line.startswith(("## ", "### ")) or before == after == "", f"{path}: {line}"
    table = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif table:
            assert len({len(row) for row in table}) == 1, line
            scrolls = table[0][0] == "Learning rate"  # a grid has a column a number, as published grids do
            assert narrowest(table) <= PAGE_WIDTH or scrolls, table[0]
            table = []


def anchors(text):
    """Return what GitHub calls the headings of a page in links."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def front(study, folder=Path("nowhere")):
    """Return the first page without its figure."""
    return page.render("README.md", **readme.facts(study, folder, pictured=False))


def details(study):
    """Return the page about methods without its figures."""
    return page.render("methods.md", **methods.facts(study, {"roc": False, "curves": False}))


def part(text, heading):
    """Return what stands below a heading of level 2; empty where there is none."""
    return next((s.partition("\n")[2] for s in f"\n{text}".split("\n## ") if s.partition("\n")[0] == heading), "")


def verdict(study):
    """Return the three sentences of the verdict."""
    lines = [line for line in part(front(study), "Verdict").splitlines() if line.startswith("- ")]
    assert len(lines) == 4
    assert lines[3].startswith("- **Not for clinical use**")
    return lines[:3]


def narrowest(table):
    """Return about how wide a table is on GitHub, in px, when every cell is broken wherever it may be."""
    shown = [
        [re.sub(r"\[([^]]*)\]\([^)]*\)|[*`\\]", r"\1", re.sub(r"!\[[^]]*\]\([^)]*\)", "", c)) for c in r] for r in table
    ]
    rows = [row for row in shown if set("".join(row)) - set(":- ")]
    words = [[max(map(len, cell.split()), default=0) for cell in row] for row in rows]
    return sum(8.3 * max(column) + 27 for column in zip(*words))


@pytest.fixture(scope="module")
def reports(root, plain_forks) -> Path:
    """Return the reports of a whole study, written as stage report writes them, and hold what that may import."""
    folder, study = root
    (folder / "params.yaml").write_text(json.dumps(study.model_dump(mode="json", exclude_unset=True)))
    # One study is written by several processes at full size, the other by one process with a tenth of the pixels.
    coarse = folder.name.startswith("multiclass")
    code = (
        f"import sys; from pipeline.report import main; from pipeline.reporting.figures import style; "
        f"style.DPI = {COARSE if coarse else style.DPI}; main([]); "
        "heavy = {'torch', 'timm', 'sklearn', 'cv2', 'matplotlib.pyplot'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = plain_forks.run(["-c", code], cwd=folder, env={**os.environ, **({ALONE: "1"} if coarse else {})})
    assert done.returncode == 0, done.stderr
    assert "README.md" in done.stdout
    return folder / "reports"


@pytest.fixture(scope="module")
def loaded(root):
    """The study as stage report has it: all its pages are written from what was read once."""
    with contextlib.chdir(root[0]):
        return load_study(root[1])


@pytest.mark.pictures
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_written_again_byte_by_byte(name, here, loaded, reports, tmp_path, monkeypatch):
    study = loaded
    if study.task == "multiclass":
        monkeypatch.setattr(style, "DPI", COARSE)
    shutil.copytree(reports, tmp_path, dirs_exist_ok=True)  # it links what lies there already
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "png", lambda *_: BLANK)  # these files are removed again
        written = PAGES[name](study, tmp_path)
    assert bool(written) == (
        name not in ("explain", "external", "folds", "variants", "ordinal", "metadata", "search", "nested")
    )  # of which this study has none
    for path in written:
        path.unlink()
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    assert PAGES[name](study, tmp_path) == written
    assert {p for p in tmp_path.rglob("*") if p.is_file()} - before == set(written)
    for path in written:
        assert path.stat().st_size
        assert path.read_bytes() == (reports / path.relative_to(tmp_path)).read_bytes(), path


def test_pages_of_a_whole_study(here, reports):
    study = load_once(here)
    found = pages(reports)
    assert [p.relative_to(reports).as_posix() for p in found] == [
        "README.md",
        "checklist.md",
        "claims.md",
        "clinical-ensemble.md",
        "clinical.md",
        "data.md",
        "ensembles.md",
        "errors.md",
        "losses.md",
        "methods.md",
        *(f"model_cards/{r.key}.md" for r in sorted(study.configurations, key=lambda r: r.key)),
        "models.md",
        "seeds/README.md",
        *(f"seeds/{r.key}.md" for r in sorted(study.configurations, key=lambda r: r.key)),
        "stability.md",
        "timing.md",
    ]
    for path, text in found.items():
        check_page(path, text)
        assert "> [!WARNING]\n> **Synthetic images.**" in text
        cautions = re.findall(r"> \[!CAUTION\]\n> \*\*([^*]+)\*\*", text)
        assert cautions == (["Possible shortcut.", "Signs of failure"] if path == reports / "README.md" else []), path
    first, methods_page = found[reports / "README.md"], found[reports / "methods.md"]
    assert len(first.split()) <= FIRST_PAGE
    assert "**Not for clinical use**" in first
    for metric in ("Accuracy", "Balanced accuracy"):
        assert (metric in methods_page) == (study.task == "multiclass")
    assert f"SHA-256 `{study.audit['sha256'][:12]}" in methods_page
    for text in (first.lower(), methods_page.lower()):
        assert "no patient, " in text
        assert "identical image is in two sets" in text
    assert r"cannot be read: 2; empty \| blank: 1" in methods_page
    assert "1 image is identical to an earlier one" in methods_page
    assert "Findings are drawn, not diagnosed." in methods_page
    assert "- Research output: not for clinical use." in methods_page
    pictures = {p.name for p in (reports / "figures").iterdir()}
    expected = {
        "flow.png",
        "forest.png",
        "roc.png",
        "curves.png",
        "data-classes.png",
        "data-samples.png",
        "data-clahe.png",
    }
    expected |= {"data-pairs.png"} if study.task == "multilabel" else set()
    expected |= {f"{kind}-{r.key}.png" for r in study.configurations for kind in ("seeds", "roc", "curves")}
    assert expected <= pictures


def test_headline_numbers_are_one_per_configuration_and_the_chosen_ensemble(here, tmp_path):
    study = load_once(here)
    PAGES["summary"](study, tmp_path)
    for name, part in (("metrics.json", "test"), ("validation.json", "val")):
        content = json.loads((tmp_path / name).read_text())
        assert list(content) == [*(r.key for r in study.configurations), "ensemble"]
        rows = study.configurations[1].metrics.query("part == @part and metric == 'auroc' and `class` == 'macro'")
        of_seeds = rows.loc[rows["seed"] != "mean", "value"]
        assert len(of_seeds) == 3
        assert content[study.configurations[1].key] == pytest.approx(of_seeds.mean(), abs=1e-6)
        chosen = max(study.ensembles, key=lambda r: r.get("auroc", part="val").value)
        assert content["ensemble"] == round(chosen.get("auroc", part=part).value, 6)


def test_a_configuration_without_a_number_is_left_out_of_the_headlines(here, tmp_path):
    study = load_once(here)
    first = study.configurations[0]
    lost = replace(first, metrics=first.metrics.assign(value=math.nan))
    study = replace(study, configurations=(lost, *study.configurations[1:]))
    PAGES["summary"](study, tmp_path)
    assert first.key not in json.loads((tmp_path / "metrics.json").read_text())


def test_tables_for_plots(here, tmp_path):
    study = load_once(here)
    PAGES["summary"](study, tmp_path)
    curves, roc = pd.read_csv(tmp_path / "curves.csv"), pd.read_csv(tmp_path / "roc.csv")
    assert curves.columns.tolist() == ["cell", "epoch", "train_loss", "val_loss", "val_auroc"]
    assert curves["cell"].nunique() == 12
    assert roc["cell"].unique().tolist() == [r.key for r in (*study.configurations, *study.ensembles)]
    assert roc.groupby("cell").size().max() <= 200
    pr = pd.read_csv(tmp_path / "pr.csv")
    assert pr.columns.tolist() == ["cell", "recall", "precision"]
    assert pr["cell"].unique().tolist() == roc["cell"].unique().tolist()


def test_confusions_are_counted_of_the_decisions_behind_the_metrics(here, tmp_path):
    study = load_once(here)
    PAGES["summary"](study, tmp_path)
    table = pd.read_csv(tmp_path / "confusion.csv", keep_default_na=False)
    assert table["cell"].unique().tolist() == [r.key for r in study.configurations]
    for results in study.configurations:
        counts = table[table["cell"] == results.key].pivot(index="actual", columns="predicted", values="n")
        for name in study.classes:
            positive = results.get("auroc", name).n_positive
            hit = counts.loc[name, name] / (len(results.seeds) * positive)
            assert hit == pytest.approx(results.get("sensitivity", name).value)
        if study.task == "multiclass":
            assert counts.to_numpy().sum() == len(results.seeds) * len(results.predictions.test_targets)
        else:
            none = ~results.predictions.test_targets.any(axis=1)
            assert counts.loc["none"].sum() >= len(results.seeds) * none.sum() > 0


@pytest.mark.parametrize("name", ["cells", "confusion_cells"])
def test_templates_of_plots_have_their_anchors(name):
    template = (ROOT / ".dvc" / "plots" / f"{name}.json").read_text()
    json.loads(template)
    for anchor in ("<DVC_METRIC_DATA>", "<DVC_METRIC_X>", "<DVC_METRIC_Y>", '"cell"', '"rev"'):
        assert anchor in template


def test_one_training_run_lacks_nothing(make):
    """Stage ensemble has looked, and found no two members."""
    params = make(models=("densenet",), replicates=())
    assert load_study(params).missing == ()
    shutil.rmtree(ENSEMBLES)
    assert load_study(params).missing == ("the ensembles",)
    ensemble(params)
    study = load_study(params)
    assert set(study.skipped.values()) == {"one member only"}
    assert study.missing == ()
    write_reports(study, Path("reports"))
    for written in Path("reports").rglob("*.md"):
        assert "Missing results" not in written.read_text(), written
        assert "Holm's method for no tests" not in written.read_text(), written
    assert "- 1 training run: none missing, none collapsed." in Path("reports/README.md").read_text()


def test_a_mean_lacks_seeds_where_training_runs_are_missing_alone(make):
    study = load_study(make())
    without_maps = replace(study, missing=("heat maps by grad-cam of densenet-bce",))
    assert not shared.banner(without_maps).seeds_missing
    first = replace(study.configurations[0], seeds=study.configurations[0].seeds[:1])
    lacking = replace(study, configurations=(first, *study.configurations[1:]), missing=(f"{first.key}, seed 12",))
    assert shared.banner(lacking).seeds_missing
    assert shared.banner(lacking, first).seeds_missing
    assert not shared.banner(lacking, study.configurations[1]).seeds_missing


def test_missing_and_collapsed_cells_come_first(make):
    study = make(collapsed=12)
    (EVALUATIONS / "small_cnn-bce" / "metrics.csv").unlink()
    (ENSEMBLES / "metrics.csv").unlink()
    results = load_study(study)
    assert results.missing == ("small_cnn-bce, all seeds (42, 12)", "the ensembles")
    write_reports(results, Path("reports"))
    text = Path("reports/README.md").read_text()
    check_page(Path("reports/README.md"), text)
    head = text[: text.index("## Verdict")]
    assert "small_cnn-bce, all seeds (42, 12); the ensembles" in head
    assert "1 training run learned nothing: densenet-bce, seed 12: chance" in head
    assert "- 4 training runs: **2 missing**, **1 collapsed**." in text
    assert "means over a" not in head
    page = Path("reports/seeds/densenet-bce.md").read_text()
    assert "seed 12: chance" in page
    assert "small_cnn" not in page


def test_a_missing_seed_is_named(make, settings):
    study = make(models=("densenet",))
    more = settings("multilabel", ("densenet",), ("bce",), (12, 99))
    assert load_study(study).missing == ()
    assert load_study(more).missing == ("densenet-bce, seed 99",)


def test_nothing_at_all_is_an_error(make):
    study = make(models=("densenet",))
    (EVALUATIONS / "densenet-bce" / "metrics.csv").unlink()
    with pytest.raises(ReportError, match="none of the 2 training runs has results; run: dvc repro evaluate"):
        load_study(study)


def test_a_left_over_folder_is_not_reported(make, settings):
    make()
    fewer = settings("multilabel", ("densenet",), ("bce",), (12,))
    assert [r.key for r in load_study(fewer).configurations] == ["densenet-bce"]


def test_one_recipe_one_seed(make):
    study = load_study(make(models=("densenet",), replicates=(), synthetic=False))
    write_reports(study, Path("reports"))
    for path, text in pages(Path("reports")).items():
        check_page(path, text)
        assert "Synthetic images" not in text
        assert path.name == "claims.md" or "±" not in text  # there it stands before half-widths
    text = Path("reports/README.md").read_text()
    assert "The only configuration, **densenet-bce**" in text
    assert "How well does densenet, trained with bce, distinguish" in text
    assert "1 model × 1 loss × 1 seed (42) = 1; none missing, none collapsed" in Path("reports/methods.md").read_text()


def configurations_table(tmp_path, *bounds):
    lines = ["model,loss,seed,part,class,metric,value,ci_low,ci_high"]
    for i, (low, high) in enumerate(bounds):
        value = (low + high) / 2
        lines += [
            f"m{i},l,mean,test,macro,auroc,{value},{low},{high}",
            f"m{i},l,1,test,macro,auroc,{value},{low},{high}",
        ]
        lines += [f"m{i},l,mean,val,macro,auroc,0.{9 - i},,"]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines))
    return from_metrics(path)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, "With one configuration there is nothing to compare."), (2, "not tested"), (3, "not tested")],
)
def test_configurations_are_never_called_different_without_a_test(tmp_path, n, expected):
    bounds = [(0.7, 0.8), (0.81, 0.85), (0.9, 0.95)][:n]  # intervals apart are no test
    sentences = verdict(configurations_table(tmp_path, *bounds))
    assert len(sentences) == 3
    assert expected in sentences[1]
    assert not re.search(r"significant|better|outperform|superior|robust|differ ", " ".join(sentences))


def compared(study, *apart):
    """Return the study with every pair of its recipes compared, those in `apart` found different."""
    keys = [r.key for r in study.configurations]
    rows = [
        [a, b, "auroc", 0.05, 0.01, 0.09, 0.01, 0.02 if (a, b) in apart else 0.4, (a, b) in apart, "vary"]
        for a, b in itertools.combinations(keys, 2)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS[: len(rows[0])]) if rows else pd.DataFrame(columns=COLUMNS)
    return replace(study, comparisons=table.assign(margin=0.005, equivalent=False, family="recipes"))


@pytest.mark.parametrize(
    ("n", "apart", "expected"),
    [
        (
            2,
            [],
            "1 comparison: the two configurations do not differ significantly; the difference is within noise, and",
        ),
        (
            2,
            [("m0-l", "m1-l")],
            "for 1 comparison: the two configurations differ (m0-l above m1-l; probability of a false claim 3.9 %).",
        ),
        (
            3,
            [],
            "for 3 comparisons: of 3 pairs of configurations, 3 are within noise, neither different nor shown to",
        ),
        (
            3,
            [("m0-l", "m2-l")],
            "1 differs (m0-l above m2-l; probability of a false claim 3.9 %) and 2 are within noise",
        ),
    ],
)
def test_a_difference_is_called_one_only_if_it_was_found(tmp_path, n, apart, expected):
    study = compared(configurations_table(tmp_path, *[(0.7, 0.8)] * n), *apart)
    assert expected in verdict(study)[1]
    table = part(details(study), "Differences between configurations")
    assert table.count("| differ") == len(apart)
    assert table.count("within noise") == n * (n - 1) // 2 - len(apart)


def test_many_pairs_are_cut_to_those_with_the_chosen_configuration(tmp_path):
    study = compared(configurations_table(tmp_path, *[(0.7, 0.8)] * 7))
    table = part(details(study), "Differences between configurations")
    assert table.count("within noise") == 6
    assert (
        "for the 21 comparisons that lead the study, all pairs of configurations, and is the same on every page."
        in table
    )
    assert "The table shows those with m0-l." in table


def test_configurations_that_differ_by_less_than_the_margin_are_called_equivalent(tmp_path):
    study = compared(configurations_table(tmp_path, *[(0.7, 0.8)] * 2))
    study = replace(study, comparisons=study.comparisons.assign(equivalent=True))
    table = part(details(study), "Differences between configurations")
    assert re.search(r"\| equivalent +\|", table)
    assert "a difference of 0.005 (the equivalence margin) or more" in table


def test_signs_of_failure_are_listed_or_denied(here):
    study = load_once(here)
    assert "| constant metric | the validation metric is 0.5 in all 3 epochs |" in part(
        details(study), "Signs of failure"
    )
    assert re.search(r"CAUTION\]\n> \*\*Signs of failure\*\* .*densenet-bce seed 42, constant metric", front(study))
    none = replace(study, signs=study.signs[:0])
    assert "No training run shows any of these" in part(details(none), "Signs of failure")
    assert "No run shows a [sign of failure]" in front(none)
    unknown = replace(study, signs=NO_TABLE)
    assert part(details(unknown), "Signs of failure") == ""
    assert "Signs of failure were not looked for." in front(unknown)


def test_too_few_to_tell_is_no_sign_of_failure(here):
    study = load_once(here)
    said = "45 images, AUROC 0.560: noise reaches 0.606, and so few images allow for 0.666 as well: too few to tell"
    rows = [("densenet-bce seed 42", "too_few_to_tell", said), ("densenet-bce seed 12", "too_few_to_tell", said)]
    few = replace(study, signs=pd.DataFrame(rows, columns=["cell", "gate", "sentence"]))
    remark = f"Whether 2 training runs learned cannot be told: {said.removesuffix(': too few to tell')}."
    assert f"- {remark}" in front(few)
    assert "Signs of failure**" not in front(few)
    assert "No run shows" not in front(few)
    found = part(details(few), "Signs of failure")
    assert remark in found
    assert "No other training run shows any of these" in found
    other = few.signs.assign(sentence=[said, "12 images"])
    assert "densenet-bce seed 12, 12 images; densenet-bce seed 42, 45 images" in front(replace(few, signs=other))


def test_probes_stand_beside_the_chosen_configuration_and_the_close_one_is_named(here, reports):
    study = load_once(here)
    written = pd.read_csv(PROBES / "metrics.csv").query("part == 'test' and metric == 'auroc'")
    macro = written[written["class"] == "macro"].set_index("loss")
    key, reached = study.chosen.key, study.chosen.get("auroc").value
    section = part((reports / "methods.md").read_text(), "Shortcut probes")
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    assert cells[0] == ["Probe", "Input", "Test macro AUROC [95 % CI]", f"Difference ({key} − probe)"]
    found = {name: (score, difference) for name, _, score, difference in cells[2:]}
    for name, row in macro.iterrows():
        score = f"{row['value']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
        assert found[name] == (score, english.signed(reached - row["value"]))
    assert reached - macro.loc["thumbnail", "value"] > 0.05 > reached - macro.loc["metadata", "value"]
    first = (reports / "README.md").read_text()
    for text in (section, first[: first.index("## Verdict")]):
        assert (
            f"The macro AUROC of {key}, {reached:.3f}, does not exceed the "
            f'{macro.loc["metadata", "value"]:.3f} of the shortcut probe "metadata" by more than 5 points: '
            "it may rest on a shortcut."
        ) in text
        assert 'the shortcut probe "thumbnail"' not in text
    assert not any("probe" in r.key for r in (*study.configurations, *study.ensembles))
    assert "probe" not in (reports / "metrics.json").read_text()


def test_far_probes_are_called_so_and_unknown_numbers_are_not(here):
    study = load_once(here)
    thumbnail, _ = study.probes
    far = replace(study, probes=(thumbnail,))
    for text in (part(details(far), "Shortcut probes"), front(far)):
        assert f"{study.chosen.key} exceeds every probe by more than 5 points" in text
        assert "shortcut." not in text
    undefined = thumbnail.metrics.assign(value=math.nan, ci_low=math.nan, ci_high=math.nan, note="one class only")
    blind = replace(study, probes=(replace(thumbnail, metrics=undefined),))
    text = part(details(blind), "Shortcut probes")
    assert re.search(r"\| thumbnail \|[^|]+\| +— \| +— \|", text)
    assert "one class only" in text
    for shown in (text, front(blind)):
        assert "above every probe" not in shown
        assert "it is unknown whether" in shown


@pytest.mark.parametrize("table", [None, "header"])
def test_without_probes_there_is_no_section(make, table):
    study = make(models=("densenet",), replicates=())
    path = PROBES / "metrics.csv"
    path.unlink()
    if table:
        write_csv(path, pd.DataFrame(columns=METRIC_COLUMNS))
    results = load_study(study)
    assert results.probes == ()
    assert part(details(results), "Shortcut probes") == ""
    assert "No shortcut probe was scored." in front(results)


def test_the_gain_of_an_ensemble_is_its_tested_difference(here):
    study = load_once(here)
    row = study.comparisons.set_index(["first", "second"]).loc[(study.chosen.key, study.chosen_ensemble.key)]
    sentence = verdict(study)[2]
    assert english.signed(-row["difference"]) in sentence
    assert ("within noise" in sentence) != bool(row["distinguishable"])
    assert ("significant after Holm's correction" in sentence) == bool(row["distinguishable"])


def test_validation_chooses_not_test(tmp_path):
    study = configurations_table(tmp_path, (0.6, 0.7), (0.8, 0.9))
    assert study.chosen.key == "m0-l"
    assert "**m0-l**" in verdict(study)[0]


def test_a_leak_between_parts_is_the_first_thing_to_read(make):
    params = make(models=("densenet",))
    audit = json.loads(AUDIT.read_text())
    write_json(AUDIT, {**audit, "patients_in_two_parts": 2, "duplicates_in_two_parts": 1})
    study = load_study(params)
    for text in (front(study).split("## Verdict")[0], part(details(study), "Data")):
        assert "Leak" in text
        assert "2 patients and 1 duplicate in two sets" in text
        assert "no number of this report can be trusted" in text
    assert "is in two sets" not in front(study)
    assert "no patient, no group" not in details(study)


def test_of_many_configurations_the_first_page_shows_the_best_and_methods_all(tmp_path):
    study = configurations_table(tmp_path, *[(0.7 + i / 1000, 0.8) for i in range(8)])
    many = replace(study, configurations=study.configurations * 3)
    many = replace(many, configurations=tuple(replace(r, model=f"n{i}") for i, r in enumerate(many.configurations)))
    validated = [r.get("auroc", part="val").value for r in many.configurations]
    table = [line for line in part(front(many), "Main result").splitlines() if line.startswith("| ")][1:]
    assert len(table) == readme.MOST == 16
    worst = [r.key for r, value in zip(many.configurations, validated) if value < sorted(validated)[8]]
    assert not any(key in row for key in worst for row in table)
    assert "Shown are the 16 with the highest validation macro AUROC" in front(many)
    assert "lists the other 8, too" in front(many)
    every = [line for line in part(details(many), "All results").splitlines() if line.startswith("| ")][1:]
    assert len(every) == 24
    assert part(details(study), "All results") == ""


def test_the_first_roc_figure_shows_what_can_be_told_apart(here, tmp_path):
    study = load_once(here)
    shown = overview.leaders(study)
    assert shown[0].key == study.chosen.key
    assert shown[-1].key == study.chosen_ensemble.key
    best = {}
    for r in study.configurations:
        value = r.get(study.leading, part="val").value
        best[r.model] = max(best.get(r.model, (0, "")), (value, r.key))
    assert {r.key for r in shown[:-1]} == {key for _, key in best.values()}
    many = tuple(replace(study.configurations[0], model=f"m{i}") for i in range(9))
    assert len(overview.leaders(replace(study, configurations=many, ensembles=()))) == overview.MOST_CURVES
