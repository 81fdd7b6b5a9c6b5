"""Pages of other studies below reports/studies/: what is copied, what is left, and who leaves them alone."""

import shutil
from pathlib import Path

import pytest

from pipeline import report
from pipeline.reporting import kept
from pipeline.reporting.exporting.tables import read_tables
from pipeline.reporting.values import ReportError
from tests.blank import BLANK
from tests.tiny import ROOT

PRIVATE = "[Films](../data/figures/data-samples.png) (this file exists only on the machine that ran the study)"
PAGES = {
    "README.md": "# Results: Films\n\n![Forest](figures/forest.png) [data](data.md) [params](../params.yaml)\n",
    "data.md": f"# Data\n\n{PRIVATE}\n\n[a paper](https://doi.org/10.1/a_(b)) [below](#here) [up](README.md#x)\n",
    "seeds/cnn-ce.md": "# Seeds\n\n| a |\n| --- |\n| 1 |\n\n![S](../figures/seeds-cnn-ce.png) [m](../data.md)\n",
}


@pytest.fixture(autouse=True)
def reports(tmp_path, monkeypatch) -> Path:
    """A folder of reports as the working directory has it, with a figure that no page shows."""
    monkeypatch.chdir(tmp_path)
    folder = Path("reports")
    for name, text in PAGES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "figures").mkdir()
    for name in ("forest", "seeds-cnn-ce", "data-samples"):
        (folder / "figures" / f"{name}.png").write_bytes(BLANK)
    (folder / "metrics.csv").write_text("model\n")
    (folder / "roc.csv").write_text("fpr\n")
    return folder


def test_pages_and_what_they_show_are_copied_and_no_link_leads_nowhere(reports):
    written = kept.keep_pages(reports, "films", "> Kept.")
    folder = Path("reports/studies/films")
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        *PAGES, "metrics.csv", "figures/forest.png", "figures/seeds-cnn-ce.png"
    }  # fmt: skip
    assert set(written) == {p for p in folder.rglob("*") if p.is_file()}
    assert (folder / "README.md").read_text() == (
        "# Results: Films\n\n> Kept.\n\n![Forest](figures/forest.png) [data](data.md) params\n"
    )
    assert (folder / "data.md").read_text() == (
        "# Data\n\n*Films: not shown here, since it shows images of the data set.*\n\n"
        "[a paper](https://doi.org/10.1/a_(b)) [below](#here) [up](README.md#x)\n"
    )
    assert (folder / "seeds/cnn-ce.md").read_text() == PAGES["seeds/cnn-ce.md"]


def test_the_same_name_replaces_its_pages_and_leaves_those_of_others(reports):
    kept.keep_pages(reports, "other", "> Other.")
    kept.keep_pages(reports, "films", "> First.")
    (reports / "seeds/cnn-ce.md").unlink()
    kept.keep_pages(reports, "films", "> Second.")
    assert not Path("reports/studies/films/seeds").exists()
    assert "> Other." in Path("reports/studies/other/README.md").read_text()
    assert not list(Path("reports/studies").rglob("studies"))


@pytest.mark.parametrize(
    ("page", "text", "said"),
    [
        ("README.md", None, r"reports/README\.md: no such page"),
        ("data.md", "![x](../data/figures/data-samples.png)\n", r"reports/data\.md: shows \.\./data/figures"),
        ("data.md", "![x](figures/gone.png)\n", r"shows figures/gone\.png, which is not a file of reports/"),
    ],
)
def test_pictures_from_elsewhere_and_missing_ones_are_refused_before_anything_is_written(reports, page, text, said):
    Path("data/figures").mkdir(parents=True)
    Path("data/figures/data-samples.png").write_bytes(BLANK)
    (reports / page).unlink() if text is None else (reports / page).write_text(text)
    with pytest.raises(ReportError, match=said):
        kept.keep_pages(reports, "films", "> Kept.")
    assert not Path("reports/studies").exists()


def test_new_reports_and_exported_tables_leave_them_alone(reports, monkeypatch):
    kept.keep_pages(reports, "films", "> Kept.")
    assert {table.page for table in read_tables(reports)} == {"seeds/cnn-ce.md"}
    assert {table.page for table in read_tables(reports / "studies/films")} == {"seeds/cnn-ce.md"}
    monkeypatch.setattr(report, "write_study", lambda folder: [folder / "README.md"])
    report.main([])
    assert {p.name for p in reports.iterdir()} == {"studies"}
    assert Path("reports/studies/films/README.md").is_file()


def test_dvc_does_not_see_them(tmp_path):
    """Else they would be a part of the output of stage report, which would be stale with each of them."""
    from dvc.repo import Repo

    shutil.copy(ROOT / ".dvcignore", tmp_path)
    Repo.init(str(tmp_path), no_scm=True).close()
    with Repo(str(tmp_path)) as repo:
        seen = {
            Path(path).relative_to(tmp_path) for path, *_ in repo.dvcignore.walk(repo.fs, str(tmp_path / "reports"))
        }
    assert Path("reports/figures") in seen
    kept.keep_pages(Path("reports"), "films", "> Kept.")
    with Repo(str(tmp_path)) as repo:
        now = {Path(path).relative_to(tmp_path) for path, *_ in repo.dvcignore.walk(repo.fs, str(tmp_path / "reports"))}
    assert now == seen
