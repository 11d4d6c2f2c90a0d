"""The page of a run: it needs nothing but itself, says what was measured, and nothing from outside can act in it."""

import base64
import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.architecture import Architecture
from verydeep.evaluate import Report, calibrate
from verydeep.evaluate.metrics import expected_calibration_error, wilson_interval
from verydeep.image import fit, read_image
from verydeep.nouns import Calibration, Failure
from verydeep.outputs.classify import posteriors
from verydeep.train.recipe import Recipe
from verydeep.train.report import render_report, write_report
from verydeep.weights import ModelInfo

pytestmark = pytest.mark.slow  # whole trainings or pages, more than test-fast has time for

RECIPE = Recipe(configuration="toy", input_size=32, test_resize=36, test_crop=32, epochs=4, label_smoothing=0.0)
VOID = {"meta", "img", "br", "hr", "link", "input"}
PAYLOADS = (
    "<script>document.title='hacked'</script>",
    '"><img src=x onerror="document.title=\'hacked\'">',
    "' onmouseover='document.title=1' x='",
    "</style></title></svg><script>document.title='hacked'</script>",
    "javascript:document.title='hacked'",
    "{{7*7}} ${7*7} $body $title",
    "&lt;script&gt;document.title='hacked'&lt;/script&gt;",
    "<!--",
    "]]><svg onload=document.title='hacked'>",
    "`<b>`",
    "line\nbreak\u202e\x00",
)


class Page(HTMLParser):
    """A page taken apart. Raises AssertionError where its tags are not balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.tables: list[list[list[str]]] = []
        self.comments: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        assert "svg" in self._open  # elsewhere HTML knows no such tags
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.words += data
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data

    def handle_comment(self, data):
        self.comments.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all tags of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, first: str) -> list[list[str]]:
        """The table whose first cell says this."""
        return next(table for table in self.tables if table[0][0] == first)


@pytest.fixture
def render(tmp_path, random_weights):
    """A function (classes, n, metrics, ...) -> the page of a made-up run, and its report."""

    def render_example(
        classes=("cat", "dog", "rocket"), n=120, metrics=None, has_photos=True, is_calibrated=True, **fields
    ):
        report = evaluation(tmp_path / "photos", classes, n, has_photos, is_calibrated)
        architecture = Architecture("toy", head="gap", classes=len(classes), input_size=32, batch_norm=True)
        info = ModelInfo(
            architecture,
            tuple(classes),
            RECIPE.preprocessing,
            report.calibration,
            {**ORIGIN, **fields.pop("origin", {})},
        )
        report = replace(report, **fields.pop("report", {}))
        weights = random_weights(architecture)
        rows = epochs(4) if metrics is None else metrics
        recipe = fields.pop("recipe", RECIPE)
        return render_report(info, report, recipe, metrics=rows, weights=weights, **fields), report

    return render_example


ORIGIN = {
    "program": "verydeep 1.2.3",
    "command": "verydeep train 'my photos'",
    "date": "2030-01-02",
    "data": "my photos",
    "photos": 4711,
    "precision": "bfloat16",
    "machine": "a machine, 2 cores, cpu",
    "versions": {"torch": "9.8.7"},
}


def evaluation(folder: Path, classes, n: int, has_photos: bool, is_calibrated: bool) -> Report:
    """Of n photos, three in four recognised."""
    random = np.random.default_rng(0)
    labels = np.arange(n) % len(classes)
    logits = random.normal(0, 1, (n, len(classes))).astype(np.float32)
    logits[np.arange(n), np.where(random.random(n) < 0.75, labels, (labels + 1) % len(classes))] += 4
    paths = tuple(folder / f"class {label}" / f"{i}.png" for i, label in enumerate(labels))
    for path in paths if has_photos else ():
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (4, 5, 3), np.uint8))
        coarse.resize((50, 40), Image.Resampling.BICUBIC).save(path)
    calibration = calibrate(logits, labels) if is_calibrated else Calibration()
    scores = posteriors(logits, calibration.temperature)
    return Report("centre crop 32", "center", tuple(classes), paths, labels, scores, logits, calibration)


def epochs(count: int, **columns: float) -> list[dict[str, float]]:
    return [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "learning_rate": 0.05 / epoch,
            "loss": 1 / epoch,
            "validation_loss": 1.2 / epoch,
            "validation_top1": 0.8 - 0.5 / epoch,
            "photos_per_second": 321.0,
            "seconds": 100.0 * epoch,
            **columns,
        }
        for epoch in range(1, count + 1)
    ]


def check_alone(text: str) -> Page:
    """The page taken apart, having made sure that it loads nothing and runs nothing."""
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith(("data:image/jpeg;base64,", "data:image/png;base64,", "#")), tag
    assert set(re.findall(r"url\((.)", text)) <= {"#"}
    assert "@import" not in text
    assert page.comments == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:href="#|url\(#)([^")]+)', text):
        assert target in ids
    return page


@pytest.mark.whole_report
def test_the_page_needs_nothing_but_itself(render):
    text, _ = render()
    page = check_alone(text)
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    policy = next(tag["content"] for tag in page.of("meta") if "http-equiv" in tag)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert [tag["content"] for tag in page.of("meta") if tag.get("name") == "viewport"]
    assert "@media screen and (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert len(page.of("svg")) == 4
    assert not re.search(r"#0102\d\d", text)  # every colour of the figures became the page's


@pytest.mark.whole_report
def test_the_same_run_gives_the_same_page(render):
    assert render()[0] == render()[0]


def test_the_figures_are_those_of_the_evaluation(render):
    text, report = render()
    page = Page(text)
    low, high = wilson_interval(report.top1.successes, 120)
    assert f"{report.top1.successes / 120:.1%} of 120 validation photos recognised" in page.words
    assert f"95 % interval {low:.1%} to {high:.1%}" in page.words
    assert "Protocol: centre crop 32." in page.words
    error = expected_calibration_error(report.posteriors, report.labels)
    assert f"divided by {report.calibration.temperature:.2f}, " in page.words
    before = expected_calibration_error(posteriors(report.logits), report.labels)
    assert f"(expected calibration error {before:.3f} before, {error:.3f} after, n = 120)" in page.words
    assert f"less than {report.calibration.reject_below:.0%} is said to be probably none" in page.words


def test_every_class_stands_with_its_counts_the_weakest_first(render):
    text, report = render()
    rows = Page(text).table("class")[1:]
    said = report.posteriors.argmax(axis=1)
    shares = []
    for label, recognised, interval, right in rows:
        own = report.classes.index(label)
        hits = int(((report.labels == own) & (said == own)).sum())
        low, high = wilson_interval(hits, 40)
        assert recognised == f"{hits / 40:.0%} {hits} of 40"
        assert interval == f"{low:.0%} to {high:.0%}"
        assert right.endswith(f" {hits} of {(said == own).sum()}")
        shares.append(hits)
    assert shares == sorted(shares)
    assert len(shares) == 3


def test_the_confusion_matrix_is_that_of_the_evaluation(render):
    text, report = render()
    table = Page(text).table("")
    assert table[0] == ["", "cat", "dog", "rocket"]
    assert [[int(cell or 0) for cell in row[1:]] for row in table[1:]] == report.confusion.tolist()


def test_photos_are_what_the_network_saw_and_bear_what_it_said(render):
    text, report = render()
    page = Page(text)
    photos = [tag for tag in page.of("img") if tag["alt"] in report.classes]
    sure = report.posteriors.max(axis=1)
    is_right = report.posteriors.argmax(axis=1) == report.labels
    worst = np.where(is_right, 0, sure).argmax()
    names = [tag["title"] for tag in page.of("small") if "title" in tag]
    first = re.search(r"Surest and wrong\n(.*?)%", page.words, re.DOTALL)
    assert first[1] + "%" == (
        f"{report.classes[report.labels[worst]]}: {report.classes[report.posteriors[worst].argmax()]} {sure[worst]:.1%}"
    )
    shown = names.index(f"{report.paths[worst].parent.name}/{report.paths[worst].name}")
    data = base64.b64decode(photos[shown]["src"].partition(",")[2])
    seen = fit(read_image(report.paths[worst]), RECIPE.preprocessing)
    with Image.open(io.BytesIO(data)) as copy:
        assert copy.size == (32, 32)
        assert np.abs(np.asarray(copy).astype(int) - seen).mean() < 5  # what JPEG loses
    right = photos[:8]
    assert {tag["alt"] for tag in right} == set(report.classes)  # not eight of the easiest class


@pytest.mark.whole_report
def test_the_page_of_ten_classes_is_below_two_megabytes(render, tmp_path):
    _, report = render([f"class {i}" for i in range(10)], n=200)
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)  # the worst for JPEG
    Image.fromarray(noise).save(report.paths[0])
    for path in report.paths[1:]:
        path.write_bytes(report.paths[0].read_bytes())
    large = replace(RECIPE.preprocessing, resize=256, crop=224)
    info = ModelInfo(Architecture("toy", head="gap", classes=10), report.classes, large, report.calibration, ORIGIN)
    weights = {"conv1_1.weight": np.random.default_rng(0).normal(size=(64, 3, 3, 3)).astype(np.float32)}
    path = write_report(tmp_path, info, report, RECIPE, metrics=epochs(100), weights=weights)
    assert path == tmp_path / "report.html"
    assert path.stat().st_size < 2e6
    check_alone(path.read_text(encoding="utf-8"))


def test_a_photo_that_has_gone_is_shown_as_gone(render):
    text, report = render(has_photos=False)
    page = check_alone(text)
    assert [tag for tag in page.of("img") if tag["alt"] in report.classes] == []
    assert "The photo can no longer be shown. " in page.words


def test_photos_that_cannot_be_read_are_named_up_to_ten(render):
    failures = tuple(Failure(f"{i}.jpg", "it is cut off") for i in range(14))
    words = Page(render(report={"failures": failures})[0]).words
    assert "Not in any figure, as it cannot be read: 9.jpg: it is cut off" in words
    assert "10.jpg" not in words
    assert "4 more photos cannot be read." in words


@pytest.mark.whole_report
def test_two_classes_and_a_thousand_have_their_pages(render):
    text, _ = render(("cat", "dog"))
    assert Page(text).table("")[0] == ["", "cat", "dog"]
    text, report = render([f"class {i}" for i in range(1000)], n=2000, has_photos=False)
    page = check_alone(text)
    assert not [table for table in page.tables if table[0][0] == ""]  # no matrix of a million cells
    pairs = page.table("class of the photos")[1:]
    assert [tuple(row) for row in pairs] == [(p.label, p.taken_for, str(p.photos)) for p in report.top_confusions(20)]
    classes = [table for table in page.tables if table[0][0] == "class"]
    assert [len(table) - 1 for table in classes] == [20, 1000]
    assert len(text) < 2e6


@pytest.mark.whole_report
@pytest.mark.parametrize("count", [0, 1])
def test_a_run_of_one_epoch_and_one_whose_measurements_are_lost_have_their_pages(count, render):
    page = check_alone(render(metrics=epochs(count))[0])
    assert len(page.of("svg")) == (4 if count else 1)  # without measurements, the confidence only


@pytest.mark.whole_report
def test_a_model_without_calibration_has_its_page(render):
    text, _ = render(n=30, is_calibrated=False)
    words = check_alone(text) and Page(text).words
    assert "photos to validate on, 30; expected, 50 or more. Add photos, or train with" in words
    assert "Expected calibration error: " in words


@pytest.mark.whole_report
def test_what_a_calibration_lacks_is_told_in_numbers_with_a_way_out_that_there_is(render):
    of_folds = Page(render(n=30, is_calibrated=False, origin={"folds": 3})[0]).words
    assert "photos to validate on, 30; expected, 50 or more. Add photos." in of_folds
    assert "or train with" not in of_folds
    text, report = render(n=55)
    told = f"50 photos have to be recognised, and {report.top1.successes} were."
    assert f"It never says that a photo is none of the classes: to learn when, {told}" in Page(text).words


def test_the_time_is_split_where_it_was_measured(render):
    parts = {"training_seconds": 100.0, "waiting_seconds": 20.0, "validation_seconds": 80.0, "saving_seconds": 20.0}
    text, _ = render(metrics=epochs(3, **parts))
    rows = Page(text).table("computing: forward, backward, update")
    assert [row[1:] for row in rows] == [["40.0%", "4 min"], ["10.0%", "60 s"], ["40.0%", "4 min"], ["10.0%", "60 s"]]
    assert "Of 3 of the 4 epochs" in render(metrics=[epochs(1)[0], *epochs(4, **parts)[1:]])[0]
    old = Page(render()[0]).words
    assert "Training took 7 min, validation not counted, at 321 photos a second." in old


def test_where_the_pictures_grew_the_page_says_so_below_the_curves(render):
    growing = replace(RECIPE, first_size=24, epochs=6)
    rows = [row | {"image_size": size} for row, size in zip(epochs(6), growing.sizes, strict=True)]
    words = Page(render(metrics=rows, recipe=growing)[0]).words
    assert "Trained at 24 to 32 pixels: " in words
    assert (
        "The pictures grew after epoch 1 from 24 to 28 pixels, after epoch 3 from 28 to 32 pixels; each epoch is "
        "validated at a size in proportion, so a dip there is no failure."
    ) in words
    for same in (epochs(5), epochs(5, image_size=32)):  # of an older run, and of one that does not grow
        words = Page(render(metrics=same)[0]).words
        assert "Trained at 32 pixels: " in words
        assert "The pictures grew" not in words


def test_settings_other_than_the_default_are_marked(render):
    text, _ = render()
    rows = {row[0]: row[1] for table in Page(text).tables for row in table if len(row) == 2}
    assert rows["epochs"] == "4 default 40"
    assert rows["momentum"] == "0.9"
    assert rows["train_scales"] == "none"
    assert set(RECIPE.to_dict()) <= set(rows)
    assert rows["machine"] == "a machine, 2 cores, cpu"
    assert rows["versions"] == "torch 9.8.7"


def test_the_page_gives_the_command_to_repeat_the_run(render):
    text, _ = render(notes=["Two photos were left out: try `--set x=1`."])
    assert "<pre><code>verydeep train &#x27;my photos&#x27;</code></pre>" in text
    assert "<strong>Two photos were left out:</strong> try <code>--set x=1</code>." in text


@pytest.mark.whole_report
def test_nothing_from_outside_becomes_part_of_the_page(render):
    plain, _ = render([f"class {i}" for i in range(len(PAYLOADS))])
    text, report = attacked(render)
    page = check_alone(text)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in Page(plain).tags]  # the same elements as without
    assert not [word for word in page.words if not word.isprintable() and word != "\n"]
    for payload in PAYLOADS[:6]:  # and each is told as it is
        assert page.words.count(payload) >= 3
    assert len(report.classes) == len(PAYLOADS)


def attacked(render):
    """The page of a run in which every text from outside is an attack, the photos' names and EXIF data included."""
    everything = " ".join(PAYLOADS)
    names = ("program", "command", "date", "data", "precision", "machine")
    origin = dict.fromkeys(names, everything) | {"versions": {everything: everything}}
    _, report = render(PAYLOADS)
    exif = Image.Exif()
    exif[0x010E] = everything.replace("\u202e", "")  # the description
    paths = []
    for i, path in enumerate(report.paths):
        with Image.open(path) as picture:
            name = PAYLOADS[i % len(PAYLOADS)].replace("/", "_").replace("\x00", "")
            paths.append(path.with_name(f"{i}{name}.jpg"))
            picture.save(paths[-1], "JPEG", exif=exif)
    return render(PAYLOADS, origin=origin, report={"paths": tuple(paths)})


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["with its policy", "without"])
def test_a_browser_runs_nothing_of_the_page(policy, render, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium")
    text, _ = attacked(render)
    if policy == "without":  # escaping alone must do
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    (tmp_path / "bait.html").write_text("<title>x</title><script>document.title='hacked'</script>", encoding="utf-8")
    assert "<title>hacked</title>" in opened(browser, tmp_path / "bait.html")  # it would be seen
    assert re.search(r"<title>VGG-toy", opened(browser, tmp_path / "page.html"))


def opened(browser: str, path: Path) -> str:
    """The page as the browser has it once it is loaded."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={path.parent / 'profile'}"]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def test_matplotlib_is_imported_only_when_a_report_is_written():
    code = "import sys, verydeep.train.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
