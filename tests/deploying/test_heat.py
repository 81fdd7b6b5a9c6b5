"""Heat maps of new images: for which classes, under which names, resumed; and the page with them in a browser."""

import base64
import html
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.commands.predict import main
from pipeline.deploying import running
from pipeline.deploying.bundle import bundle, network_of
from pipeline.deploying.choice import ChoiceSections, choose
from pipeline.deploying.heat import MEANING
from pipeline.deploying.page import write_page
from pipeline.deploying.predicting import EMPTY, HEAT, predict
from pipeline.deploying.running import Row
from pipeline.deploying.sources import Source, sources
from pipeline.explaining.maps import heat_maps
from pipeline.explaining.overlay import overlay
from pipeline.imaging.enhance import resize
from pipeline.study.params import load
from pipeline.study.prepared import as_input, open_images, read_samples
from tests.deploying.test_predict import RAW, read_rows

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def chosen():
    return choose(load(ChoiceSections))


def test_maps_are_those_of_the_decided_classes(deployed):
    """The pictures are the overlays of the library's own maps of the study's prepared images."""
    samples = read_samples().set_index("sample_id")
    names = sorted(name for name in samples.index if (RAW / name).exists())[:12]
    main([*(str(RAW / name) for name in names), "--heatmaps", "--cam", "layercam", "--out", "answers"])
    choice, images = chosen(), open_images()
    classes = bundle(choice).recipe.classes
    networks = list(network_of(choice).members)
    page = Path("answers/index.html").read_text(encoding="utf-8")
    lines = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    seen = Counter()
    for name, row, line in zip(names, read_rows(Path("answers")), lines):
        probability = np.array([float(row[f"probability {each}"]) for each in classes])
        decided = [classes.index(each) for each in row["decision"].split("|") if each]
        expected = sorted(decided, key=lambda k: -probability[k]) or [int(probability.argmax())]
        assert [map_[0] for map_ in line[12]] == expected
        prepared = np.asarray(images[samples.loc[name, "row"]])
        maps = heat_maps(networks, as_input(prepared[None]), expected, "layercam")[0]
        for heat, file in zip(maps, row[HEAT].split("|")):
            seen["empty" if file == EMPTY else "drawn"] += 1
            assert (file == EMPTY) == (not heat.any())
            if file != EMPTY:
                assert re.fullmatch(r"heatmaps/[A-Za-z0-9_]+-[0-9a-f]{10}-\d+-[A-Za-z0-9_]+\.png", file)
                picture = cv2.imread(str(Path("answers", file)))[:, :, ::-1]
                large = np.clip(resize(heat, picture.shape[0]), 0, 1)
                assert np.abs(picture.astype(int) - overlay(resize(prepared, picture.shape[0]), large)).max() <= 2
    assert seen["drawn"] > 5
    about = json.loads(Path("answers/predictions.json").read_text())["heat_maps"]
    assert (about["method"], about["meaning"]) == ("layercam", MEANING)
    assert set(about["layers"]) == {run.model for run in choice.members}


def test_probabilities_are_as_without_and_rows_are_taken_over(deployed, monkeypatch):
    choice, some = chosen(), sources([str(RAW)])[:20]
    predict(choice, some, Path("plain"))
    predict(choice, some, Path("whole"), heat="grad-cam")
    for one, other in zip(read_rows(Path("plain")), read_rows(Path("whole"))):
        assert one == {key: value for key, value in other.items() if key != HEAT}
    assert HEAT not in read_rows(Path("plain"))[0]
    assert not Path("plain/heatmaps").exists()
    real, calls = running.Predictor.rows, []

    def interrupted(self, files):
        calls.append(len(files))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, files)

    monkeypatch.setattr(running.Predictor, "rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(choice, some, Path("halves"), threads=1, heat="grad-cam")
    predict(choice, some, Path("halves"), threads=1, heat="grad-cam")
    assert sum(calls[2:]) < len(some)  # what was done before was not done again
    pictures = [sorted(path.name for path in Path(out, "heatmaps").iterdir()) for out in ("whole", "halves")]
    assert pictures[0] == pictures[1]
    for name in ("predictions.csv", "predictions.json", "index.html", f"heatmaps/{pictures[0][0]}"):
        assert Path("halves", name).read_bytes() == Path("whole", name).read_bytes()


def test_names_that_are_alike_or_hostile_keep_apart(deployed):
    picture = sorted(RAW.iterdir())[0]
    for name in ("a/x.png", "b/x.png", "x;y & <z>.png", "x y z.png", "..png"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, name)
    predict(chosen(), [Source(Path(n), n) for n in ("a/x.png", "b/x.png", "x;y & <z>.png", "x y z.png", "..png")],
            Path("answers"), heat="layercam")  # fmt: skip
    files = [file for row in read_rows(Path("answers")) for file in row[HEAT].split("|") if file != EMPTY]
    assert len(set(files)) == len(files) == len(list(Path("answers/heatmaps").iterdir())) > 0
    assert not any(set(Path(file).name) & set(" ;&<>/\\") for file in files)


def test_how_without_whether_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["a.png", "--cam", "layercam"])
    assert "must be used with --heatmaps" in capsys.readouterr().err


# --- the page in a browser ----------------------------------------------------------------------------------------

DRIVER = """
<script>
const seen = {};
addEventListener("error", event => seen.error = event.message);
addEventListener("load", () => setTimeout(() => {
  const place = () => get("place").textContent;
  const set = (id, value) => {
    get(id).value = value;
    get(id).dispatchEvent(new Event(id === "text" ? "input" : "change"));
  };
  const lines = () => [...document.querySelectorAll("#rows tr")];
  seen.rows = rows.length; seen.drawn = lines().length; seen.first = place();
  seen.canvases = document.querySelectorAll("#rows canvas").length;
  const canvas = document.querySelector("#rows canvas");
  seen.size = [canvas.width, canvas.height];
  seen.pixels = [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
  get("next").click(); seen.second = place();
  set("text", "image 0001"); seen.found = place(); set("text", "");
  set("show", "failed"); seen.failed = place(); set("show", "all");
  set("sort", "0"); seen.sorted = shown.slice(0, 100).map(row => row[P][0]); set("sort", "given");
  set("decided", "1"); seen.decided = shown.length; set("decided", "");
  set("maps", "off"); seen.off = document.querySelectorAll("#rows canvas").length;
  seen.fetched = performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:"));
  document.body.textContent = JSON.stringify(seen);
}, 500));
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_page_of_a_thousand_rows_in_chromium(deployed, tmp_path):
    recipe = bundle(chosen()).recipe
    generator = np.random.default_rng(2)
    picture = generator.integers(0, 256, (96, 96), np.uint8)
    png = base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()
    cells = generator.integers(0, 255, (3, 4), np.uint8)
    cells[1, 2] = 255
    probabilities = generator.random((1000, len(recipe.classes)))
    rows = []
    for i, p in enumerate(probabilities.tolist()):
        if i % 100 == 99:
            rows.append(Row(f"image {i:04}.png", None, "not predicted", "truncated", *((),) * 5, None, (), {}, ""))
            continue
        decided = (recipe.classes[1],) if p[1] > 0.5 else ()
        map_ = {"class": 1, "file": "", "height": 3, "width": 4, "agreement": 0.5}
        map_["cells"] = base64.b64encode(cells.tobytes()).decode()
        rows.append(
            Row(f"image {i:04}.png", None, "predicted", "", decided, (), *(tuple(p),) * 3, 1.0, (), {}, png, (map_,))
        )
    about = {"method": "grad-cam", "layers": {"cnn": "features"}, "scale": "scale", "meaning": "meaning"}
    page = tmp_path / "index.html"
    write_page(page, recipe, rows, Counter(images=1000, predicted=990, failed=10), about)
    assert page.stat().st_size < 20e6
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", DRIVER + "</body>"), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [*command, "--virtual-time-budget=4000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    seen = json.loads(html.unescape(re.search(r"<body>(.*)</body>", shown, re.S)[1]))
    assert "error" not in seen
    assert seen["fetched"] == []
    assert (seen["rows"], seen["drawn"], seen["first"], seen["second"]) == (
        1000,
        50,
        "1 to 50 of 1000",
        "51 to 100 of 1000",
    )
    assert (seen["found"], seen["failed"]) == ("1 to 1 of 1", "1 to 10 of 10")
    predicted = np.delete(probabilities, np.arange(99, 1000, 100), axis=0)
    np.testing.assert_allclose(seen["sorted"], np.sort(predicted[:, 0])[::-1][:100], atol=1e-4)
    assert seen["decided"] == (predicted[:, 1] > 0.5).sum()
    assert (seen["canvases"], seen["off"], seen["size"]) == (50, 0, [96, 96])
    # The browser colours as the pictures beside the page are coloured.
    from pipeline.explaining.maps import enlarge

    heat = enlarge(cells[None, None].astype(np.float32) / 255, 96, 96)[0, 0]
    painted = np.array(seen["pixels"]).reshape(96, 96, 4)
    assert np.abs(painted[:, :, :3] - overlay(picture, heat).astype(int)).max() <= 2
