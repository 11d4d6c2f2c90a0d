"""The pages hold together: links lead somewhere, the reference is the program's, their Python runs."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
import tutorial_pictures
from pages import PAGES, REPOSITORY, blocks, run_blocks
from PIL import Image

CONCEPTS = [page for page in PAGES if page.parent.name == "concepts"]
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading_of_it(page):
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {path}"
        assert not anchor or anchor in anchors(target), f"{page}: {path}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_calls_anything_easy(page):
    """A reader for whom it is not so feels a fool."""
    found = re.findall(r"\b(?:simply|just|obviously|of course)\b", page.read_text(encoding="utf-8"), re.IGNORECASE)
    assert not found


def test_every_page_of_docs_can_be_reached_from_the_readme():
    reached, waiting = set(), [REPOSITORY / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            links = [(page.parent / path).resolve() for path, _ in LINK.findall(page.read_text(encoding="utf-8"))]
            links += [link / "README.md" for link in links]  # what a folder shows
            waiting += [link for link in links if link.is_file()]
    assert set(PAGES) <= reached


@pytest.mark.parametrize("name", tutorial_pictures.PICTURES)
def test_a_tutorials_picture_is_shown_there_with_words_and_is_quick_to_load(name):
    page = (REPOSITORY / "docs" / "tutorial" / f"{name}.md").read_text(encoding="utf-8")
    assert re.search(rf"^!\[[^]]{{40,}}\]\(\.\./pictures/{name}\.jpg\)$", page, re.MULTILINE)
    path = REPOSITORY / "docs" / "pictures" / f"{name}.jpg"
    assert path.stat().st_size < 100_000
    with Image.open(path) as picture:
        assert (picture.format, picture.width) == ("JPEG", tutorial_pictures.WIDTH)


def test_the_reference_is_the_programs(monkeypatch):
    spec = importlib.util.spec_from_file_location("generate", REPOSITORY / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "generate", generate)
    spec.loader.exec_module(generate)
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in generate.REFERENCE.glob("*.md")}
    assert generate.pages() == on_disk, "run: python docs/generate.py"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in CONCEPTS if blocks(page)], ids=name_of)
def test_the_python_of_a_concept_runs(page, tmp_path):
    run_blocks(page, tmp_path)


def anchors(page: Path) -> set[str]:
    """As the hosts of repositories make them from headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
