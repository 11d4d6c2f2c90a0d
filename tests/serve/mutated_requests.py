"""Requests that are valid up to a point: valid ones, of each of which one to three parts are changed."""

import base64
import copy
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from routes import BOUNDARY, FORM, HEAD_LENGTH, JSON, Request, form

TEXTS = ["", " ", "\0", "a" * 300, "../../x", "%00", "\ud800", "é", "💥", "-1", "1e999", "null", "toy", "cat"]
TEXTS += ["'\"<>", "{x}"]
NUMBERS = [0, -1, 1, 2, 255, 256, 1 << 31, 1 << 63, -(1 << 63), 1 << 80, 0.5, -0.0, 1e308, 1e-320, float("nan")]
NUMBERS += [float("inf"), float("-inf"), 10**300]
VALUES: list[Any] = [*TEXTS, *NUMBERS, None, True, False, [], {}, [[]], [{}], {"": None}, {"a": [1]}, [1] * 50]
VALUES += [["QQ=="]]
METHODS = [b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"get", b"", b"G E", b"\0"]
METHODS += [b"GET", b"POST", b"M" * 5000, b"P\xc3\xb6ST", b"*"]
TARGETS = [b"", b"*", b"/", b"//", b"/%", b"/%zz", b"/%00", b"/\xff", b"/..", b"/?", b"/#x", b"http://localhost/models"]
TARGETS += [b"localhost:80", b"/" + b"a" * 20_000, b"/v2/models/toy/infer/", b"/v2/models//infer", b"/page/", b"/;x=1"]
TARGETS += [b"/models/toy/layers?x", b"/networks/%F0%9F%92%A5", b"/v2/models/%ff%fe", b"/openapi.json/", b"/" * 300]
VERSIONS = [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/9.9", b"http/1.1", b"HTTP/1.1 ", b"", b"HTTP/1"]
QUERY_NAMES = [b"model", b"top", b"label", b"layer", b"method", b"x", b""]
QUERY_VALUES = [b"", b"0", b"-1", b"1001", b"99999999999999999999", b"1e3", b"%00", b"%ff", b"%F0%9F%92%A5", b"\xff"]
QUERY_VALUES += [b"\xc2\xb2", b"true", b"[]", b"a" * 3000, b"gradcam", b"occlusion", b"relu1_1", b"fc8", b"input"]
QUERY_VALUES += [b"%22%3C"]
HEADERS = [
    (b"expect", b"100-continue"),
    (b"expect", b"x"),
    (b"connection", b"upgrade"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade, HTTP2-Settings"),
    (b"http2-settings", b"AAMAAABkAAQAAP__"),
    (b"connection", b"keep-alive"),
    (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"gzip, chunked"),
    (b"content-encoding", b"gzip"),
    (b"accept-encoding", b"\xff"),
    (b"range", b"bytes=0-18446744073709551615"),
    (b"x-forwarded-for", b"::::"),
    (b"forwarded", b'for="_x"'),
    (b"cookie", b"a=b; " * 50),
    (b"content-type", b"multipart/form-data"),
    (b"content-type", b"multipart/form-data; boundary="),
    (b"content-type", b'multipart/form-data; boundary="' + b"x" * 300),
    (b"content-type", b"multipart/form-data; boundary*=utf-8''%ff"),
    (b"content-type", b"application/json; charset=utf-16"),
    (b"content-type", b";;;="),
    (b"content-type", b"image/\xff"),
    (b"host", b"localhost"),
    (b"host", b"localhost:99999999999"),
    (b"host", b"\xff"),
    (b"origin", b"http://"),
    (b"authorization", b"Bearer \xff"),
    (b"x-request-id", b"\x80"),
    (b"content-length", b"0"),
    (b"inference-header-content-length", b"0"),
    (b"inference-header-content-length", b"-1"),
    (b"inference-header-content-length", b"\xb2"),
    (b"inference-header-content-length", b"9" * 5000),
    (b"x", b"y" * 17_000),
    (b"a b", b"c"),
    (b"a:b", b"c"),
    (b"a\0", b"c"),
    (b"", b"c"),
    (b"a", b"b\0c"),
    (b"a", b"b\r\n folded"),
    (b"a", b"b\rc"),
]
LENGTHS = [b"", b"-1", b"+5", b"1e3", b"0x10", b"5, 6", b"5,5", b" 5", b"99999999999999999999", b"999999999"]
LENGTHS += [b"\xc2\xb2", b"0"]
CHUNKS = [b"0\r\n\r\n", b"zz\r\nx\r\n", b"-1\r\nx\r\n", b"5\r\nabc\r\n", b"FFFFFFFFFFFFFFFFF\r\nx"]
CHUNKS += [b"1;" + b"x" * 500 + b"\r\na\r\n"]
CHUNKS += [b"1\nx\n", b"0\r\nx: y\r\n\r\n", b"0\r\n: \r\n\r\n", b"0x1\r\na\r\n", b"1 \r\na\r\n", b"\r\n"]
CHUNKS += [b"1\r\nab\r\n", b"1" * 30]
BYTES = [b"\0", b"\xff", b"\r\n", b"\n", b"\r", b" ", b"%", b"\x80", b":", b"\xf0\x9f", b"GET / HTTP/1.1\r\n"]
BYTES += [b"--cut", b"0\r\n\r\n"]


@dataclass
class Draft:
    """A request that is being changed. What its body is made of is told apart as far as it is known."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    version: bytes = b"HTTP/1.1"
    question: Any = None  # the JSON of the body
    tensors: bytes = b""  # that follow it
    length: bytes | None = None  # other than the body's
    chunks: list[bytes] | None = None  # that the body is sent in

    @property
    def data(self) -> bytes:
        body = self.body
        headers = self.headers
        if self.question is not None:
            head = json.dumps(self.question).encode()
            body = head + self.tensors
            own = str(len(head)).encode()
            headers = [(name, own if name == HEAD_LENGTH and value.isdigit() else value) for name, value in headers]
        length = str(len(body)).encode() if self.length is None else self.length
        framing = (b"content-length", length) if self.chunks is None else (b"transfer-encoding", b"chunked")
        lines = [b" ".join((self.method, self.target, self.version))]
        lines += [b"%s: %s" % one for one in [*headers, framing]]
        return b"\r\n".join(lines) + b"\r\n\r\n" + (body if self.chunks is None else b"".join(self.chunks))


class Mutations:
    """photo: a PNG that the valid requests hold. seed: of all of them."""

    def __init__(self, requests: Sequence[Request], photo: bytes, seed: int) -> None:
        have_bodies = [[one for one in requests if bool(one.body) == is_so] for is_so in (False, True)]
        self._requests = [have_bodies[0], have_bodies[1], have_bodies[1]]
        self._photos = [photo, *(_saved(photo, kind) for kind in ("JPEG", "WEBP", "GIF", "BMP", "TIFF"))]
        self._seed = seed

    def __getitem__(self, number: int) -> bytes:
        """Always the same for the same number."""
        chance = random.Random(f"{self._seed} {number}")
        draft = _draft(chance.choice(chance.choice(self._requests)))
        changes = [_method, _target, _version, _query, _header, _header_value, _header_line, _length, _chunks]
        if draft.question is not None:
            changes += 4 * [_json, _tensor, _text]
        elif draft.body:
            changes += 4 * [_form, self._photo]
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            chance.choice(changes)(chance, draft)
        data = draft.data
        return _scratched(chance, data, 3) if chance.random() < 0.2 else data

    def _photo(self, chance: random.Random, draft: Draft) -> None:
        photo = _scratched(chance, chance.choice(self._photos), 20)
        if FORM in draft.headers:
            draft.body = form((b'name="a"; filename="b"', photo), (b'filename="c"', photo[:100]))
        else:
            draft.body = photo


def _draft(request: Request) -> Draft:
    headers = [(b"host", b"localhost"), (b"connection", b"close"), *request.headers]
    draft = Draft(request.method, request.target, headers, request.body)
    if JSON in request.headers:
        length = int(dict(request.headers).get(HEAD_LENGTH, len(request.body)))
        draft.question, draft.tensors = json.loads(request.body[:length]), request.body[length:]
    return draft


def _saved(photo: bytes, kind: str) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(file, kind)
    return file.getvalue()


def _method(chance: random.Random, draft: Draft) -> None:
    draft.method = chance.choice(METHODS)


def _target(chance: random.Random, draft: Draft) -> None:
    if chance.random() < 0.5:
        draft.target = chance.choice(TARGETS)
    else:
        draft.target = _scratched(chance, draft.target, 2)


def _version(chance: random.Random, draft: Draft) -> None:
    draft.version = chance.choice(VERSIONS)


def _query(chance: random.Random, draft: Draft) -> None:
    added = b"&".join(b"=".join((chance.choice(QUERY_NAMES), chance.choice(QUERY_VALUES))) for _ in range(2))
    draft.target = chance.choice((draft.target.partition(b"?")[0], draft.target)) + b"?" + added


def _header(chance: random.Random, draft: Draft) -> None:
    draft.headers.insert(chance.randrange(len(draft.headers) + 1), chance.choice(HEADERS))


def _header_value(chance: random.Random, draft: Draft) -> None:
    if draft.headers:
        place = chance.randrange(len(draft.headers))
        name, value = draft.headers[place]
        others = [other for known, other in HEADERS if known == name]
        draft.headers[place] = (name, chance.choice([_scratched(chance, value, 2), *others]))


def _header_line(chance: random.Random, draft: Draft) -> None:
    if draft.headers:
        line = draft.headers.pop(chance.randrange(len(draft.headers)))
        draft.headers += chance.choice(([], [line, line], [line] * 300))


def _length(chance: random.Random, draft: Draft) -> None:
    size = len(draft.body)
    draft.length = chance.choice([*LENGTHS, *(b"%d" % max(0, size + off) for off in (-1, 1, 10, -10))])


def _chunks(chance: random.Random, draft: Draft) -> None:
    step = max(1, len(draft.body) // 3)
    parts = [draft.body[start : start + step] for start in range(0, len(draft.body), step)]
    draft.chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts] + [b"0\r\n\r\n"]
    if chance.random() < 0.8:
        draft.chunks.insert(chance.randrange(len(draft.chunks)), chance.choice(CHUNKS))


def _form(chance: random.Random, draft: Draft) -> None:
    draft.headers = [one for one in draft.headers if one[0] != b"content-type"] + [FORM]
    photo = draft.body[:2000]
    parts = [(b'name="a"; filename="a.png"', photo)] * chance.choice((0, 1, 2, 7, 8, 9, 50))
    strange = [b"", b"filename", b'filename="', b"filename*=utf-8''%ff", b'name="\0"; filename="../../x"', b"x" * 5000]
    parts.append((chance.choice(strange), photo))
    draft.body = chance.choice((b"", b"preamble\r\n")) + form(*parts)
    draft.body = chance.choice((draft.body, draft.body.replace(b"\r\n", b"\n"), _scratched(chance, draft.body, 6)))
    draft.body = draft.body.replace(b"--" + BOUNDARY, chance.choice((b"--" + BOUNDARY, b"--cut--", b"-cut")), 1)


def _json(chance: random.Random, draft: Draft) -> None:
    """Another value somewhere in it, or a name that is not expected."""
    place = draft.question = copy.deepcopy(draft.question)
    while True:
        if not isinstance(place, dict | list) or not place:
            return
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.75:
            place = place[key]
            continue
        place[key] = chance.choice(VALUES)
        if isinstance(place, dict) and chance.random() < 0.2:
            place[chance.choice(TEXTS)] = place.pop(key)
        return


def _tensor(chance: random.Random, draft: Draft) -> None:
    """Of the Open Inference Protocol, or photos in JSON."""
    question = copy.deepcopy(draft.question)
    if isinstance(question, dict) and isinstance(question.get("inputs"), list) and question["inputs"]:
        tensor = question["inputs"][0]
        if isinstance(tensor, dict):
            shapes = [
                [1],
                [0],
                [64, 1],
                [65],
                [1, 3, 32, 32],
                [1, 1, 64, 3],
                [1, 64, 1, 3],
                [2, 3, 32, 32],
                [1048575] * 4,
            ]
            if chance.random() < 0.5:
                tensor["shape"] = chance.choice([*shapes, [1] * 500, [True], [1.0], "1", [[1]]])
            if chance.random() < 0.3:
                tensor["datatype"] = chance.choice(["BYTES", "UINT8", "FP32", "FP16"])
            if chance.random() < 0.7:
                several = [chance.choice(NUMBERS)] * chance.choice((1, 192, 3072))
                tensor["data"] = chance.choice([several, several, [[0, 0, 0]] * 64, ["QQ=="], [10**400], {}, "x"])
                if chance.random() < 0.7:  # or they stay unread
                    tensor.pop("parameters", None)
                    draft.tensors = b""
        draft.tensors = _scratched(chance, draft.tensors, 5) if draft.tensors else b""
    elif isinstance(question, dict):
        images = [base64.b64encode(chance.randbytes(30)).decode() for _ in range(chance.choice((0, 1, 3, 64, 65)))]
        question["images"] = chance.choice([images, [*images, None], {"a": images}])
    draft.question = question


def _text(chance: random.Random, draft: Draft) -> None:
    """JSON that is none, or hardly."""
    text = json.dumps(draft.question)
    changed = [
        _scratched(chance, text.encode(), 5),
        text[: chance.randrange(len(text) + 1)].encode(),
        b"\xef\xbb\xbf" + text.encode(),
        text.encode("utf-16"),
        b"[" * 5000 + text.encode(),
        b'{"a":' * 33 + text.encode() + b"}" * 33,
        text.replace("[", "[" * 20).replace("]", "]" * 20).encode(),
        text.replace('"', "'").encode(),
        text.encode() + text.encode(),
        b"1" * 5000,
        b"NaN",
        b"",
    ]
    draft.body, draft.question = chance.choice(changed) + draft.tensors, None


def _scratched(chance: random.Random, data: bytes, most: int) -> bytes:
    """With up to so many changes of its bytes."""
    for _ in range(chance.randint(1, most)):
        place = chance.randrange(len(data) + 1)
        end = min(len(data), place + chance.choice((1, 2, 4, 16, 200)))
        piece = data[place:end]
        into = [
            b"",
            piece + piece,
            bytes(byte ^ (1 << chance.randrange(8)) for byte in piece),
            chance.randbytes(len(piece)),
            b"\0" * len(piece),
            b"\xff" * len(piece),
            chance.choice(BYTES),
            chance.choice(BYTES) + piece,
        ]
        data = data[:place] + chance.choice(into) + data[end:]
        if chance.random() < 0.05:
            data = data[:place]
    return data


SECOND = b"GET /networks/A HTTP/1.1\r\nhost: localhost\r\nx-request-id: smuggled\r\nconnection: close\r\n\r\n"
"""A request in the body of another. Its answer would hold that id."""

_START = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\n"
_TWO_READINGS = [
    # the length told in two ways
    b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    b"content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
    b"content-length: 0\r\ncontent-length: 5\r\n\r\n",
    b"content-length: 5\r\ncontent-length: 0\r\n\r\n",
    b"content-length: 0, 5\r\n\r\n",
    # a length that some read and some do not
    b"content-length: +0\r\n\r\n",
    b"content-length: 0x0\r\n\r\n",
    b"content-length: 0 0\r\n\r\n",
    b"content-length: -0\r\n\r\n",
    b"content-length: 0\x0b\r\n\r\n",
    b"content-length: \xef\xbc\x90\r\n\r\n",
    b"content-length : 0\r\n\r\n",
    b"content-length\t: 0\r\n\r\n",
    b"content-length:\x000\r\n\r\n",
    b"content_length: 5\r\ncontent-length :0\r\n\r\n",
    # an encoding that some read and some do not
    b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: identity\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\x00\r\n\r\n0\r\n\r\n",
    b'transfer-encoding: "chunked"\r\n\r\n0\r\n\r\n',
    b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    b"content-length: 5\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    # chunks of two sizes
    b"transfer-encoding: chunked\r\n\r\n0x0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n+0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n-0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n0\x0b\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n100000000000000000000\r\n\r\n0\r\n\r\n",
    b"transfer-encoding: chunked\r\n\r\n\r\n0\r\n\r\n",
    # lines that end otherwise
    b"x: y\rcontent-length: 0\r\n\r\n",
    b"x: y\x00\r\ncontent-length: 0\r\n\r\n",
    b"content-length: 0\r\n\r\r\n",
    b"content-length\r\n\r\n",
]
SMUGGLING = [_START + rest + SECOND for rest in _TWO_READINGS]
SMUGGLING.append(_START.replace(b"\r\n", b"\r\n content-length: 5\r\n", 1) + b"\r\n" + SECOND)
"""Requests that two readers cut in two ways, each with a second one where one of them would see it."""
PIPELINED = _START + b"content-length: 0\r\n\r\n" + SECOND
"""Two requests that everybody reads as two."""
