"""The README and the tutorial do what they say."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import tables
import tutorial_pictures
from pages import REPOSITORY, blocks, run_blocks

README = REPOSITORY / "README.md"
TUTORIAL = REPOSITORY / "docs" / "tutorial" / "first-classifier.md"
FINE_TUNING = REPOSITORY / "docs" / "tutorial" / "fine-tuning.md"
SEARCH = REPOSITORY / "docs" / "tutorial" / "search.md"
SEGMENTATION = REPOSITORY / "docs" / "tutorial" / "segmentation.md"
EMBEDDING = REPOSITORY / "docs" / "tutorial" / "embedding.md"
LOCALIZATION = REPOSITORY / "docs" / "tutorial" / "localization.md"


@pytest.mark.slow
def test_the_readmes_commands_run(tmp_path):
    printed = run_blocks(README, tmp_path)
    assert re.fullmatch(r"cat \d+% (True|False)", printed.splitlines()[0])
    assert (tmp_path / "vgg16.svg").read_text() == (REPOSITORY / "docs" / "pictures" / "vgg-d.svg").read_text()


@pytest.mark.slow
def test_the_tutorials_commands_run_in_order(tmp_path):
    printed = run_blocks(TUTORIAL, tmp_path)
    assert {95 <= float(share) <= 100 for share in re.findall(r"top-1 ([\d.]+)% ", printed)} == {True}
    for figure in re.findall(r"\d{1,3}(?:,\d{3})+", section(TUTORIAL, "## 2. Choose a network")):
        assert figure in printed
    for name in re.findall(r"`(\S+)`", "".join(re.findall(r"^\| (`.*) \|", section(TUTORIAL, "## 3. Train"), re.M))):
        assert (tmp_path / "reader" / name).exists() or "|" in name, name
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 1 + 360
    assert (tmp_path / "annotated" / "1438-predicted.jpg").exists()


@pytest.mark.slow
def test_the_commands_of_the_tutorial_on_fine_tuning_run_in_order(tmp_path):
    printed = run_blocks(FINE_TUNING, tmp_path)
    shares = [float(share) for share in re.findall(r"^top-1 ([\d.]+)% ", printed, re.M)]
    assert len(shares) >= 4
    assert min(shares) > 60  # 33 by chance; the smallest is of nine photos
    assert re.search(r"n = 48; .* 4 folds, each photo by a model that was not trained on it", printed)
    assert "How much more photos would help" in (tmp_path / "surfaces-head" / "report.html").read_text()
    assert "| fine-tuned from | imagenette: sha256 " in (tmp_path / "surfaces-head" / "README.md").read_text()
    assert tutorial_pictures.PICTURES["fine-tuning"](tmp_path).width > tutorial_pictures.WIDTH


@pytest.mark.slow
def test_the_commands_of_the_tutorial_on_localization_run_in_order(tmp_path):
    printed = run_blocks(LOCALIZATION, tmp_path)
    (share,) = re.findall(r"^class and box ([\d.]+)% ", printed, re.M)
    assert float(share) > 60
    assert len(re.findall(r"the box, its class told +\d", printed)) == 2
    assert (tmp_path / "answers" / "04-predicted.jpg").exists()
    photos = json.loads((tmp_path / "answers.json").read_text())["photos"]
    assert len(photos) == 60
    assert "the left edge of the box of " in printed
    assert tutorial_pictures.PICTURES["localization"](tmp_path).width > tutorial_pictures.WIDTH


@pytest.mark.slow
def test_the_commands_of_the_tutorial_on_search_run_in_order(tmp_path):
    printed = run_blocks(SEARCH, tmp_path)
    cat, gravel, brick, *_ = printed.split("\n\n")
    first, second = re.findall(r"^  (\S+)  (\S+)", cat, re.M)[:2]
    assert first[1] == "album/cat-small.jpg"
    assert float(first[0]) > 0.95 > float(second[0]) + 0.05
    for found, name in ((gravel, "gravel"), (brick, "brick")):
        kinds = [Path(path).name.split("-")[0] for path in re.findall(r"^  \S+  (\S+)", found, re.M)]
        assert kinds.count(name) >= len(kinds) - 1
    assert tutorial_pictures.PICTURES["search"](tmp_path).width > tutorial_pictures.WIDTH
    assert [len(entry["alike"]) for entry in json.loads((tmp_path / "alike.json").read_text())["photos"]] == [5, 5]
    (recall,) = re.findall(r"^recall@1: (\d+)%", printed, re.M)
    assert int(recall) > 80
    assert (tmp_path / "sheets" / "cat-explained-gradcam.png").is_file()


@pytest.mark.slow
def test_the_commands_of_the_tutorial_on_embeddings_run_in_order(tmp_path):
    printed = run_blocks(EMBEDDING, tmp_path)
    (recall,) = re.findall(r"^recall@1 ([\d.]+)% ", printed, re.M)
    assert float(recall) > 60  # 29 by chance
    assert re.search(r"^  MAP@R +[\d.]+ %.* 75 *$", printed, re.M)  # of photos of other classes
    before, after = re.findall(r"^\w+: MAP@R (\d+)%$", printed, re.M)
    assert int(after) > int(before)
    page = (tmp_path / "alike" / "report.html").read_text()
    assert "What photos find" in page
    assert "verydeep search PHOTO --in FOLDER" in page
    kinds = re.findall(r"^  \S+  others/(\w+)/", printed, re.M)
    assert kinds.count("moon") >= len(kinds) - 1
    vectors = json.loads((tmp_path / "vectors.json").read_text())
    assert [len(photo["embedding"]) for photo in vectors["photos"]] == [128] * 25
    assert (tmp_path / "sheets" / "03-explained-gradcam.png").is_file()


@pytest.mark.slow
def test_the_commands_of_the_tutorial_on_segmentation_run_in_order(tmp_path):
    printed = run_blocks(SEGMENTATION, tmp_path)
    (trained,) = re.findall(r"^mean IoU ([\d.]+)% ", printed, re.M)
    assert float(trained) > 60
    assert (tmp_path / "sheet.png").is_file()
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        f"{number}-predicted{end}" for number in (40, 41) for end in ("-mask.png", ".jpg")
    ]
    document = json.loads((tmp_path / "shares.json").read_text())
    assert document["classes"] == ["_background_", "path", "wall"]
    assert re.search(r"^pixels of wall: \d{2,}$", printed, re.M)
    assert (tmp_path / "why" / "40-explained-gradcam+gradient.png").is_file()
    assert tutorial_pictures.PICTURES["segmentation"](tmp_path).width > tutorial_pictures.WIDTH


def test_the_map_of_folders_is_the_tree():
    (text,) = (block.text for block in blocks(README) if block.language == "text")
    top, package = text.split("src/verydeep/\narchitecture.py")
    assert named(top) == children(REPOSITORY)
    assert named("architecture.py" + package) == children(REPOSITORY / "src" / "verydeep")


def test_the_tables_of_results_are_made_from_the_files():
    texts = [page.read_text(encoding="utf-8") for page in tables.PAGES]
    assert [len(tables.SECTION.findall(text)) for text in texts] == [3, 2]
    assert [tables.with_tables(text) for text in texts] == texts, "run: python benchmarks/tables.py"


def test_the_table_of_promises_has_a_line_for_each_with_the_faults_it_noticed():
    row = {"row": "S11", "test": "t[]", "goal": "g", "here": "h", "fault": "", "outcome": "passed", "seconds": "61.2"}
    row |= {"measured": "lost=0", "machine": "m"}
    rows = [row | {"outcome": "failed"}, row, row | {"test": "t[no drain]", "fault": "no drain"}]
    rows += [row | {"test": "u[]", "row": "S2, S14"}, row | {"test": "v", "row": "D4", "outcome": "failed"}]
    lines = tables.soak(rows).splitlines()[2:5]
    assert [line.split(" | ")[0] for line in lines] == ["| D4", "| S2, S14", "| S11"]
    assert lines[0].endswith("| **failed** in 61 s; lost=0 |  |")
    assert lines[2] == "| S11 | g | h | **passed** in 61 s; lost=0 | no drain |"


def test_the_readmes_commands_of_make_exist():
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    pages = [README, REPOSITORY / "CONTRIBUTING.md"]
    wanted = {target for page in pages for target in re.findall(r"(?:\$ |`)make ([\w-]+)", page.read_text())}
    assert {"demo", "test"} <= wanted <= targets


def section(page: Path, title: str) -> str:
    return page.read_text().split(f"{title}\n")[1].split("\n## ")[0]


def named(lines: str) -> set[str]:
    """The files and folders that begin a line of the map; the first line of all names several."""
    first, *others = lines.strip().splitlines()
    names = first.split("  ")[0].split() + [line.split()[0] for line in others if line]
    return {name.rstrip("/").removesuffix("/verydeep") for name in names}


def children(folder: Path) -> set[str]:
    """What git tracks in a folder, but dot files and what Python needs."""
    listing = subprocess.run(["git", "ls-files", "."], cwd=folder, check=True, capture_output=True, text=True)
    names = {line.split("/")[0] for line in listing.stdout.splitlines()}
    return {name for name in names if not name.startswith((".", "__"))} - {"py.typed"}


def row(engine, what, value, *, batch="1", unit="ms a batch", size="224 x 224 pixels", **others):
    fixed = {"date": "", "commit": "", "machine": "Zen, 2 cores", "threads": "2", "versions": "", "model": "-"}
    protocol = f"{what}: {size}, {unit}"
    varying = {"architecture": "D", "engine": engine, "dtype": "float32", "batch": batch, "protocol": protocol}
    return fixed | varying | {"n": "9", "value": value, "spread": f"{value}..{value}"} | others


def test_the_table_of_engines_has_a_line_for_each_with_its_figures_side_by_side():
    rows = [
        row("ncnn", "prediction", "72"),
        row("native", "prediction", "60"),
        row("native", "prediction", "50"),  # measured again
        row("native", "prediction", "700", batch="16"),
        row("native", "largest error", "1e-06", unit="over the largest logit"),
        row("native", "times as fast as the best rival in float32", "1.3", unit="openvino"),
        row("native", "times as fast as the best rival in float32", "1.44", unit="ncnn"),  # now another one is the best
        row("native", "peak memory of a process", "600", unit="MB"),
        row("native", "peak memory of a process", "900", batch="16", unit="MB"),
        row("native", "start to first prediction, not the first start", "0.3", unit="s"),
    ]
    lines = tables.engines(tables.latest(rows)).splitlines()
    assert lines[0] == "D with random weights, 224 x 224 pixels, 2 threads, on Zen, 2 cores:"
    assert lines[2].endswith("| ms, batch 1 | ms, batch 16 | error | start, s | MB, batch 1 | MB, batch 16 |")
    assert "| native | float32 | 50 | 700 | 1e-06 | 0.3 | 600 | 900 |" in lines
    assert lines.index("| ncnn | float32 | 72 | - | - | - | - | - |") == 5  # the fastest first
    assert "- native, batch 1: 1.44 times as fast as ncnn (float32)" in lines


def test_figures_of_other_machines_models_and_inputs_stand_in_tables_of_their_own():
    small = {"architecture": "A-bn-gap-0.5x", "size": "160 x 160 pixels"}
    rows = [
        row("native", "prediction", "1"),
        row("native", "prediction", "2", machine="Raptor, 8 cores"),
        row("native", "prediction", "3", size="160 x 160 pixels"),
        row("native", "prediction", "4", size="224 x 224 pixels, 10 classes"),
        row("native", "prediction", "5", **small),
        row("native", "prediction", "6", model="imagenette sha256:00", **small),
        row("native", "prediction", "7", model="flowers sha256:01", **small),
        row("native", "prediction", "8", model="flowers sha256:02", **small),  # its file was replaced
    ]
    kept = tables.latest(rows)
    assert [one["value"] for one in kept] == ["1", "2", "3", "4", "5", "6", "8"]
    titles = [line for line in tables.engines(kept).splitlines() if line.endswith(":")]
    assert len(titles) == 7
    assert titles[1] == "D with random weights, 224 x 224 pixels, 2 threads, on Raptor, 8 cores:"
    assert titles[5] == "imagenette (A-bn-gap-0.5x), 160 x 160 pixels, 2 threads, on Zen, 2 cores:"
    assert re.findall("Measured on: (.*)", tables.table(kept)) == [
        "Zen, 2 cores, 2 threads.",
        "Raptor, 8 cores, 2 threads.",
    ]


def test_a_figure_of_fused_models_takes_the_place_of_none_of_theirs():
    rows = [
        row("torch", "top-1", "1", model="one sha256:0a"),
        row("torch", "top-1", "2", model="other sha256:0b"),
        row("torch", "top-1", "3", model="one sha256:0a + other sha256:0b"),
        row("torch", "top-1", "4", model="one sha256:0a + other sha256:0c"),  # a file was replaced
    ]
    kept = tables.latest(rows)
    assert [(tables.model(one), one["value"]) for one in kept] == [("one", "1"), ("other", "2"), ("one + other", "4")]


def test_of_a_recipes_figures_those_of_its_network_and_size_now_count():
    rows = [
        row("torch", "training step of recipe modern", "9", size="160 pixels"),
        row("torch", "training step of recipe modern", "8", size="128 pixels", architecture="D-bn-gap"),
        row("torch", "training from files, plain loop", "7", size="", unit="photos a second"),
        row("torch", "training from files, verydeep", "6", size="", unit="photos a second"),
    ]
    assert [one["value"] for one in tables.latest(rows)] == ["8", "7", "6"]
