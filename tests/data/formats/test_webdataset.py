"""Shards of WebDataset: photos that stay in the tar, what lies beside them, and tars that are something else."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from mutations import mutated
from PIL import Image

from verydeep.data.annotations import Box, Instance
from verydeep.data.formats import detect, read_annotations, webdataset
from verydeep.data.untrusted import Root
from verydeep.errors import DatasetError, ImageError, VerydeepError
from verydeep.image import decode


def photo_bytes(color=(200, 30, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(buffer, "PNG")
    return buffer.getvalue()


def make(path, members, kind=tarfile.PAX_FORMAT):
    """members: name -> content; None: a photo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for name, content in members.items():
            data = photo_bytes() if content is None else content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def known(annotated):
    return {photo.photo.member: photo.labels for photo in annotated.photos}


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_photos_are_read_from_within_the_tar(tmp_path, kind):
    long = f"{'folder/' * 12}0002.jpeg" if kind == tarfile.USTAR_FORMAT else f"{'folder/' * 30}0002.jpeg"
    members = {"0001.png": photo_bytes((1, 2, 3)), "0001.cls": "cat", long: photo_bytes((4, 5, 6))}
    members[long.replace("jpeg", "cls")] = "dog\n"
    shard = make(tmp_path / "train-0000.tar", members, kind)
    annotated = read_annotations(tmp_path)
    assert (annotated.format, annotated.found) == ("webdataset", "1 tar shard: train-0000.tar")
    assert annotated.problems == ()
    assert known(annotated) == {"0001.png": ("cat",), long: ("dog",)}
    assert [photo.split for photo in annotated.photos] == ["train", "train"]
    pixels = [decode(photo.photo.read(), photo.photo.name)[0, 0].tolist() for photo in annotated.photos]
    assert pixels == [[1, 2, 3], [4, 5, 6]]
    assert annotated.photos[0].photo.name == f"{shard}:0001.png"
    assert annotated.photos[0].origin == f"{shard}:0001"
    assert known(read_annotations(shard)) == known(annotated)


@pytest.mark.parametrize(
    ("beside", "labels"),
    [
        ({"cls": "3"}, ("3",)),
        ({"cls": "cat\n", "txt": "A cat."}, ("cat",)),
        ({"json": '{"label": "cat"}'}, ("cat",)),
        ({"json": '{"labels": ["cat", "pet"], "width": 40}', "txt": "A cat."}, ("cat", "pet")),
        ({"json": '{"class": 3}', "cls": "cat"}, ("cat",)),
        ({"json": '{"label": "cat", "name": "IMG_1"}', "cls": "3"}, ("cat",)),
        ({"json": '{"labels": [3, 4]}', "cls": "3"}, ("3", "4")),
        ({"json": '{"name": "IMG_1", "caption": "A cat."}', "cls": "3"}, ("3",)),
        ({"txt": "cat"}, ("cat",)),
        ({"txt": ""}, ()),
        ({"json": '{"label": null}'}, ()),
    ],
)
def test_a_class_is_told_by_cls_json_or_text(tmp_path, beside, labels):
    make(tmp_path / "a.tar", {"x/1.png": None, **{f"x/1.{ending}": text for ending, text in beside.items()}})
    annotated = read_annotations(tmp_path)
    assert (known(annotated), annotated.problems) == ({"x/1.png": labels}, ())


def test_json_tells_split_size_and_objects(tmp_path):
    told = {"label": ["cat", "dog"], "boxes": [[1, 2, 11, 12], [0, 0, 5, 5]], "split": "val", "width": 40, "height": 30}
    make(tmp_path / "train.tar", {"1.jpg": None, "1.json": json.dumps(told)})
    (photo,) = read_annotations(tmp_path).photos
    assert photo.instances == (Instance("cat", Box(1, 2, 11, 12)), Instance("dog", Box(0, 0, 5, 5)))
    assert (photo.labels, photo.split, photo.size) == ((), "val", (40, 30))


def test_a_list_of_classes_names_the_numbers(tmp_path):
    shard = make(tmp_path / "val" / "0.tar", {"1.png": None, "1.cls": "1", "2.png": None, "2.cls": "7"})
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    annotated = read_annotations(tmp_path)
    assert (known(annotated), annotated.photos[0].split) == ({"1.png": ("dog",)}, "val")
    assert "the class 7 has no name" in annotated.problems[0].message
    assert known(read_annotations(shard)) == {"1.png": ("1",), "2.png": ("7",)}


def test_the_same_names_in_two_shards_are_two_photos(tmp_path):
    for split in ("train", "test"):
        make(tmp_path / f"imagenet-{split}-000000.tar", {"1.png": None, "1.cls": "cat"})
    assert sorted(photo.split for photo in read_annotations(tmp_path).photos) == ["train", "val"]
    make(tmp_path / "imagenet-val-000000.tar", {"1.png": None, "1.cls": "cat"})
    annotated = read_annotations(tmp_path)
    assert len(annotated.photos) == 2
    assert annotated.passed_over == {"photo to test on": 1}


def test_links_and_devices_are_passed_over_and_folders_are_nothing(tmp_path):
    make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat"})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    annotated = read_annotations(tmp_path)
    assert (known(annotated), annotated.problems) == ({"1.png": ("cat",)}, ())
    assert annotated.passed_over == {"link in a tar": 2, "device in a tar": 1}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"2.png": None}, "has nothing beside its photo: no .cls, .json or .txt"),
        ({"2.cls": "cat"}, "2 has no photo (.jpg, .jpeg, .png, .webp)"),
        ({"2.png": None, "2.txt": "A cat that sleeps in the sun on a red sofa."}, "longer than the name of a class"),
        ({"2.png": None, "2.json": "[]"}, "2.json is no JSON object"),
        ({"2.png": None, "2.json": "{"}, "2.json is not JSON"),
        ({"2.png": None, "2.json": '{"caption": "A cat."}'}, "2.json tells no label"),
        ({"2.png": None, "2.cls": b"\xff"}, "2.cls is no text in UTF-8"),
        ({"2.png": None, "2.cls": "x" * 5000}, "2.cls has over 4096 bytes"),
        ({"2.png": None, "2.cls": "a\nb"}, "has the label"),
        ({"2.png": None, "2.json": '{"label": "cat", "bbox": [1, 2]}'}, "expected four numbers"),
        ({"2.png": None, "2.json": '{"label": "cat", "bbox": [0.1, 0.2, 0.5, 1]}'}, "boxes in parts of the photo"),
    ],
)
def test_a_photo_that_is_wrong_is_told_and_the_others_are_read(tmp_path, members, message):
    make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat", **members})
    annotated = read_annotations(tmp_path)
    assert known(annotated) == {"1.png": ("cat",)}
    (problem,) = annotated.problems
    assert message in problem.message
    assert f"{tmp_path / 'a.tar'}:2" in problem.message


def test_a_name_that_is_there_twice_is_told(tmp_path):
    shard = make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat"})
    with tarfile.open(shard, "a") as tar:
        tar.addfile(tarfile.TarInfo("1.cls"))
    annotated = read_annotations(tmp_path)
    assert known(annotated) == {"1.png": ("cat",)}
    assert annotated.problems[0].message == f"{shard}:1.cls is there twice."


def test_a_sparse_member_is_refused(tmp_path):
    content = b"0\n" + b"\0" * 510  # the map of a sparse file without data
    shard = make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat"})
    with tarfile.open(shard, "a") as tar:
        info = tarfile.TarInfo("2.png")
        info.size = len(content)
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999999"}
        tar.addfile(info, io.BytesIO(content))
    annotated = read_annotations(tmp_path)
    assert known(annotated) == {"1.png": ("cat",)}
    assert any("2.png is sparse" in problem.message for problem in annotated.problems)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_shard_is_refused_with_a_way_out(tmp_path, mode):
    for name in (f"a.tar.{mode[2:]}", "b.tar"):
        with tarfile.open(tmp_path / name, mode) as tar:
            tar.addfile(tarfile.TarInfo("1.png"))
    annotated = read_annotations(tmp_path)
    assert annotated.photos == ()
    assert ["is compressed" in problem.message for problem in annotated.problems] == [True, True]
    assert "gunzip" in annotated.problems[0].hint


def test_archives_beside_photos_do_not_hide_them(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(photo_bytes())
    make(tmp_path / "download.tar", {"cat/1.png": None, "cat/2.png": None})
    with tarfile.open(tmp_path / "more.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("1.png"))
    assert detect(tmp_path).found == {"folders": "1 class folder"}


def test_a_tar_of_class_folders_says_to_unpack_it(tmp_path):
    shard = make(tmp_path / "download.tar", {"cat/1.png": None, "dog/2.png": None})
    (problem,) = read_annotations(shard).problems
    assert "has no .cls, .json or .txt beside its photos" in problem.message
    assert problem.hint.startswith("Unpack it")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_shard_that_is_cut_off_gives_what_comes_before(tmp_path, kept):
    members = {f"{i:02}.{ending}": text for i in range(20) for ending, text in (("png", None), ("cls", "cat"))}
    shard = make(tmp_path / "a.tar", members)
    used = 20 * 2 * 1024
    shard.write_bytes(shard.read_bytes()[: int(used * kept)])
    annotated = read_annotations(tmp_path)
    assert 20 * kept - 2 <= len(annotated.photos) <= 20 * kept
    assert any("is damaged" in problem.message for problem in annotated.problems)
    assert all(decode(photo.photo.read(), "") is not None for photo in annotated.photos)


@pytest.mark.parametrize("data", [b"", b"\0" * 10240, b"no tar at all" * 100])
def test_what_is_no_tar_is_told(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    assert webdataset.detect(tmp_path, Root(tmp_path)) is None
    annotated = read_annotations(tmp_path / "a.tar")
    assert annotated.photos == ()
    assert annotated.problems


def huge_header(size, kind):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [1 << 30, -512, -1024])
def test_a_header_of_a_senseless_size_is_not_followed(tmp_path, kind, size):
    shard = make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat"})
    data = shard.read_bytes()[: 1024 * 2]
    shard.write_bytes(data + huge_header(size, kind) + b"\0" * 4096)
    annotated = read_annotations(tmp_path)
    assert known(annotated) == {"1.png": ("cat",)}
    assert any("is damaged" in problem.message for problem in annotated.problems)


def test_a_member_of_negative_size_does_not_lead_round_in_circles(tmp_path):
    shard = make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat"})
    data = shard.read_bytes()[: 1024 * 2]
    shard.write_bytes(data + huge_header(-1024, tarfile.REGTYPE) + b"\0" * 4096)
    assert known(read_annotations(tmp_path)) == {"1.png": ("cat",)}


def test_a_chain_of_long_names_ends_in_a_problem(tmp_path):
    shard = make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat"})
    data = shard.read_bytes()[: 1024 * 2]
    link = huge_header(1, tarfile.GNUTYPE_LONGNAME) + b"x" + b"\0" * 511
    shard.write_bytes(data + link * 5000)
    assert known(read_annotations(tmp_path)) == {"1.png": ("cat",)}


@pytest.mark.parametrize(
    ("headers", "is_read"),
    [
        ({f"k{number}": "v" for number in range(100)}, True),
        ({f"k{number}": "v" for number in range(101)}, False),
        ({"comment": "x" * 993}, True),
        ({"mtime": "1" * 996}, False),
    ],
)
def test_global_headers_that_each_member_would_copy_are_limited(tmp_path, headers, is_read):
    first = make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat"})
    second = make(tmp_path / "b.tar", {"2.png": None, "2.cls": "dog"}).read_bytes()
    first.write_bytes(first.read_bytes()[:2048] + tarfile.TarInfo.create_pax_global_header(headers) + second)
    annotated = read_annotations(first)
    assert known(annotated) == {"1.png": ("cat",)} | ({"2.png": ("dog",)} if is_read else {})
    assert [problem.message for problem in annotated.problems] == (
        [] if is_read else [f"{first} is damaged: over 100 global headers, or 1000 letters in one."]
    )


def test_a_shard_outside_the_root_is_not_read(tmp_path):
    shard = make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "b.tar").symlink_to(shard)
    annotated = read_annotations(tmp_path / "data")
    assert annotated.photos == ()
    assert "leads out of" in annotated.problems[0].message


def test_a_photo_that_shrank_since_is_an_image_error(tmp_path):
    shard = make(tmp_path / "a.tar", {"1.png": None, "1.cls": "cat"})
    (photo,) = read_annotations(tmp_path).photos
    shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(ImageError, match="is cut off"):
        photo.photo.read()


def test_the_birds_give_the_same_through_shards_and_through_their_table(shared_data, tmp_path):
    folder = shared_data / "cub-birds-loc"
    table = read_annotations(folder, "table")
    chosen = table.photos[::60]
    for split in ("train", "val"):
        members = {}
        for photo in (photo for photo in chosen if photo.split == split):
            key = Path(photo.photo.name).stem
            (instance,) = photo.instances
            members[f"{key}.jpg"] = photo.photo.read()
            told = {"label": instance.label, "bbox": instance.box, "width": photo.size[0], "height": photo.size[1]}
            members[f"{key}.json"] = json.dumps(told)
        make(tmp_path / f"birds-{split}-000000.tar", members)
    shards = read_annotations(tmp_path)
    assert shards.problems == ()

    def said(photo):
        return photo.instances, photo.labels, photo.split, photo.size, photo.photo.read()

    assert [said(photo) for photo in shards.photos] == [said(photo) for photo in chosen]


def test_the_archive_of_cifar_says_what_to_do(shared_data):
    archive = shared_data / "cifar10-jpeg" / "train.tar.gz"
    (problem,) = read_annotations(archive).problems
    assert (problem.path, "is compressed" in problem.message) == (str(archive), True)
    with pytest.raises(DatasetError, match="has nothing of the format table"):
        read_annotations(archive, "table")


def headers_mutated(data, random):
    """Accidents in headers rather than in the padding between; checksums are made right again, most times."""
    changed = bytearray(data)
    starts = [at for at in range(0, len(changed), 512) if changed[at + 257 : at + 262] == b"ustar"]
    for at in random.choice(starts, size=2):
        header = mutated(bytes(changed[at : at + 512]), random)[:512].ljust(512, b"\0")
        if random.random() < 0.8:
            blank = header[:148] + b" " * 8 + header[156:]
            header = header[:148] + b"%06o\0 " % sum(blank) + header[156:]
        changed[at : at + 512] = header
    return bytes(changed)


@pytest.mark.parametrize("accident", [mutated, headers_mutated])
@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_mutated_shards_end_in_our_errors(tmp_path, accident, kind):
    told = json.dumps({"label": ["cat"], "bbox": [1, 2, 3, 4], "split": "train"})
    members = {"1.png": None, "1.cls": "0", f"{'x' * 120}/ü2.png": None, f"{'x' * 120}/ü2.json": told, "3.txt": "dog"}
    data = make(tmp_path / "a.tar", members, kind).read_bytes()[:10240]
    (tmp_path / "classes.txt").write_text("cat\n")
    random = np.random.default_rng(7)
    for _ in range(300):
        (tmp_path / "a.tar").write_bytes(accident(data, random))
        webdataset.detect(tmp_path, Root(tmp_path))
        try:
            annotated = webdataset.read(tmp_path, Root(tmp_path))
        except VerydeepError as error:
            pytest.fail(f"{error!r}")
        for photo in annotated.photos:
            part = photo.photo
            assert 0 <= part.offset <= part.offset + part.length <= (tmp_path / "a.tar").stat().st_size
