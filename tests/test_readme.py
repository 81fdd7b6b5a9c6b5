"""README.md and the committed reports of the default study."""

import re

import pandas as pd
import pytest
import yaml

from pipeline.learning.losses import available
from tests.tiny import ROOT

README = (ROOT / "README.md").read_text()


def _numbers() -> dict[str, dict]:
    """Return the macro AUROC of every configuration and ensemble of reports/metrics.csv, in its order."""
    if not (ROOT / "reports").exists():
        return {}
    table = pd.read_csv(ROOT / "reports/metrics.csv", dtype={"seed": "str"})
    table = table[(table["metric"] == "auroc") & (table["class"] == "macro")]
    numbers = {}
    for key, rows in table.groupby(table["model"] + "-" + table["loss"], sort=False):
        mean = rows[rows["seed"] == "mean"].set_index("part")
        seeds = rows[(rows["seed"] != "mean") & (rows["part"] == "test")]["value"]
        test = {"auroc": mean.loc["test", "value"], "auroc_sd": seeds.std()}
        test |= {f"auroc_{end}": mean.loc["test", end] for end in ("ci_low", "ci_high")}
        numbers[key] = {"val": {"auroc": mean.loc["val", "value"]}, "test": test, "n_seeds": len(seeds)}
    return numbers


METRICS = _numbers()


def main_table() -> str:
    """Return the README's table as the reports' numbers make it."""
    lines = [
        "| configuration | seeds | validation AUROC | test AUROC, mean ± SD | 95 % CI of the mean |",
        "|---|---|---|---|---|",
    ]
    for key, of in METRICS.items():
        test, seeds = of["test"], of.get("n_seeds")
        value = f"{test['auroc']:.3f}" + (f" ± {test['auroc_sd']:.3f}" if seeds else "")
        interval = f"{test['auroc_ci_low']:.3f} to {test['auroc_ci_high']:.3f}"
        lines.append(f"| {key} | {seeds or '—'} | {of['val']['auroc']:.3f} | {value} | {interval} |")
    return "\n".join(lines)


def test_main_table_is_that_of_the_reports():
    assert main_table() in README


KEPT = sorted(path.name for path in (ROOT / "reports/studies").glob("*"))


def row_of_a_study(name: str) -> str:
    """Return the README's row of a study whose pages are kept: what validation chooses among its ensembles, too."""
    table = pd.read_csv(ROOT / f"reports/studies/{name}/metrics.csv", dtype={"seed": str})
    keys = table["model"] + "-" + table["loss"]
    means = table[table["seed"].isin(["mean", ""]) | table["seed"].isna()].assign(key=keys)
    scores = means[(means["metric"] == "auroc") & (means["class"] == "macro")]
    validation = scores[scores["part"] == "val"].set_index("key")["value"]
    seeds = table[keys.eq(keys.iloc[0]) & table["seed"].str.isdecimal().eq(True)]["seed"].nunique()

    def shown(key: str) -> str:
        cells = []
        for metric, of_class in (("auroc", "macro"), ("accuracy", "overall")):
            wanted = f"key == '{key}' and part == 'test' and metric == '{metric}' and `class` == '{of_class}'"
            found = means.query(wanted).to_dict("records")
            cells += [f"{of['value']:.3f} [{of['ci_low']:.3f}, {of['ci_high']:.3f}]" for of in found] or ["—"]
        return " | ".join(cells)

    ensembles = validation.index.str.startswith("ensemble-")
    best, together = validation[~ensembles].idxmax(), validation[ensembles].idxmax()
    n = int(scores[scores["part"] == "test"]["n"].iloc[0])
    return f"| [{name}](reports/studies/{name}/README.md) | {best}, mean of {seeds} seeds | {shown(best)} | {n} |\n" + (
        f"| | {together} | {shown(together)} | {n} |"
    )


@pytest.mark.parametrize("name", KEPT)
def test_results_on_real_images_are_those_of_the_kept_pages(name):
    assert row_of_a_study(name) in README
    assert (ROOT / f"studies/{name}.yaml").is_file()
    pictures = {path.name for path in (ROOT / f"reports/studies/{name}").rglob("*.png")}
    assert not {p for p in pictures if re.match(r"data-(samples|clahe|borderline|kinds|augmentation)|errors-images", p)}


def test_every_local_link_and_picture_exists():
    written = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/scale.md", "studies/README.md")
    for page in (*(ROOT / name for name in written), *(ROOT / "reports").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_and_studies_named_exist():
    for study in (ROOT / "studies").glob("*.yaml"):
        assert f"studies/{study.name}" in README
    for path in re.findall(r"`((?:pipeline|studies|tests|reports)/[\w/.]+)`", README):
        assert (ROOT / path).exists(), path


def test_every_loss_is_named():
    assert all(f"`{kind}`" in README for kind in available())


def test_the_study_of_the_reports_is_the_default_one():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    keys = {f"{m}-{lo}" for m in params["study"]["models"] for lo in params["study"]["losses"]}
    assert {k for k in METRICS if not k.startswith("ensemble-")} == keys


@pytest.mark.parametrize("configuration", [k for k in METRICS if not k.startswith("ensemble-")])
def test_every_configuration_finds_the_easy_findings_of_the_phantom(configuration):
    """What is drawn is known, so the reports must find it: the pipeline's own test."""
    assert METRICS[configuration]["test"]["auroc_ci_low"] > 0.75
    assert METRICS[configuration]["test"]["auroc"] >= 0.80
    table = pd.read_csv(ROOT / "reports/metrics.csv")
    rows = table[table["model"] + "-" + table["loss"] == configuration]
    rows = rows.query("seed == 'mean' and part == 'test' and metric == 'auroc'")
    auroc = rows.set_index("class")["value"]
    assert (auroc[["Effusion", "Emphysema"]] > 0.85).all()
    chosen = max(METRICS, key=lambda key: METRICS[key]["val"]["auroc"] if not key.startswith("ensemble-") else 0)
    if configuration == chosen:
        assert (auroc[["Fibrosis", "Emphysema", "Edema", "Pneumothorax"]] > 0.9).all()


def test_the_ensemble_of_all_runs_is_no_worse_than_the_mean_of_the_configurations():
    configurations = [of["test"]["auroc"] for key, of in METRICS.items() if not key.startswith("ensemble-")]
    assert METRICS["ensemble-mean_all"]["test"]["auroc"] > sum(configurations) / len(configurations)
