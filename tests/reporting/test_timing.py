"""The clock speaks on one page alone: a diff of the others after a retraining is a diff of results."""

import json
import math
from dataclasses import replace
from pathlib import Path

from pipeline.report import write_reports
from pipeline.reporting.loading import load_study
from pipeline.reporting.views import timing

CLOCK = ("seconds", "images_per_second")


def written(study, folder):
    write_reports(study, folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def test_another_clock_changes_one_page(root, here, tmp_path):
    """Every record and table of the study that has a time in it says another one."""
    before = written(load_study(here), tmp_path / "before")
    kept = {path: path.read_bytes() for path in Path().rglob("*.*") if path.suffix in (".json", ".csv")}
    changed = set()
    try:
        for path, content in kept.items():
            text = content.decode()
            if path.suffix == ".json" and any(f'"{name}"' in text for name in CLOCK):
                slower = json.loads(text, parse_float=float, object_hook=slowed)
                path.write_text(json.dumps(slower))
                changed.add(path.name)
        after = written(load_study(here), tmp_path / "after")
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert changed == {"runs.json"}
    assert {name for name in before if before[name] != after.get(name)} == {"timing.md"}
    assert before.keys() == after.keys()


def slowed(content):
    return {key: value * 3 + 11 if key in CLOCK and value else value for key, value in content.items()}


def test_each_run_has_its_time_and_the_page_their_sum(here, tmp_path):
    study = load_study(here)
    first = study.configurations[0]
    runs = tuple({**run, "images_per_second": 1234.4, "seconds": 61.0} for run in first.runs)
    old = [
        replace(r, runs=tuple({k: v for k, v in run.items() if k not in CLOCK} for run in r.runs))
        for r in study.configurations[1:]
    ]
    study = replace(study, configurations=(replace(first, runs=runs), *old))
    page = timing.facts(study)
    unknown = sum(len(r.seeds) for r in old)
    assert (page.seconds, page.unknown) == (61.0 * len(runs), unknown)
    assert math.isnan(page.runs[-1].seconds)
    [file] = timing.render(study, tmp_path)
    text = file.read_text()
    assert (
        f"{len(runs) + unknown} training runs, 3 min together. Of {unknown} training runs no time is recorded." in text
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[1] == [first.key, str(first.seeds[0]), str(first.run(first.seeds[0])["epochs"]), "1,234", "61 s", "cpu"]
    assert rows[-1][3:5] == ["—", "—"]


def test_times_are_said_as_people_say_them():
    assert [timing.duration(s) for s in (0.4, 89.4, 90, 5399, 5400, 36000)] == [
        *("0 s", "89 s", "2 min", "90 min"),
        *("1.5 h", "10.0 h"),
    ]
