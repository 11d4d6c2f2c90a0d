"""The body of a request -> the photos in it, each with the name that errors call it by.

A photo and a form are held once, as they arrive; JSON twice, as bytes and as text, then as text and as what it says.
Letters beyond ASCII take four bytes each in the latter two, and so do all others of the same text.
"""

import base64
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from verydeep.serve.guard import Refused
from verydeep.serve.limits import Limits

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it would log what clients wrote
_TEXTS = re.compile(rb'"[^"]*"')
_FILE_NAME = re.compile(rb";\s*filename\*?=", re.IGNORECASE)
SIMILAR_TO = "similar_to"
_SIMILAR_TO = re.compile(rb'[^;"]*form-data;\s*name="?similar_to"?\s*;', re.IGNORECASE)  # no file's name can say that
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


@dataclass(frozen=True)
class Photo:
    """The bytes of an image file, not looked at yet."""

    data: bytes | bytearray | memoryview
    name: str  # for errors: "photo 2", never what the client called it
    is_other: bool = False  # a form's file SIMILAR_TO, which another photo is compared with


async def photos_of(request: Request, limits: Limits) -> list[Photo]:
    """At least one. Raises Refused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    files: Sequence[tuple[bytes | bytearray, bool]]
    if kind == "multipart/form-data":
        files = await _files_of_form(request, limits)
    elif kind == "application/json":
        files = [(image, False) for image in _base64(parse_json(await body_of(request), limits), limits)]
    elif kind.startswith("image/") or kind in ("", "application/octet-stream"):
        files = [(await body_of(request), False)]
    else:
        raise Refused(
            415, "the body is neither a photo, nor a form, nor JSON.", "Send image/jpeg, multipart/form-data or JSON."
        )
    if not any(data for data, _ in files):
        raise Refused(422, "there is no photo in the body.", "Send at least one.")
    names = ["the photo"] if len(files) == 1 else [f"photo {number}" for number in range(1, len(files) + 1)]
    return [Photo(data, name, is_other) for (data, is_other), name in zip(files, names, strict=True)]


async def photo_of(request: Request, limits: Limits) -> Photo:
    """The one photo of a request. Raises Refused."""
    photo, *others = await photos_of(request, limits)
    if others:
        raise Refused(422, f"{1 + len(others)} photos; expected one.", "Ask for each by itself.")
    return photo


async def photo_and_other(request: Request, limits: Limits) -> list[Photo]:
    """The one photo of a request, and after it the one that it is compared with, if a form has it. Raises Refused."""
    photos = await photos_of(request, limits)
    ones, others = ([photo for photo in photos if photo.is_other == is_other] for is_other in (False, True))
    if len(ones) != 1 or len(others) > 1:
        got = f"{len(ones)} photos and {len(others)} called {SIMILAR_TO}; expected one of each."
        alone = f"{len(ones)} photos; expected one."
        raise Refused(
            422, got if others else alone, f"To compare two, send the second as the form's file {SIMILAR_TO}."
        )
    return [replace(ones[0], name="the photo"), *(replace(other, name=SIMILAR_TO) for other in others)]


def in_openapi(**files: str) -> dict[str, Any]:
    """Such a body as OpenAPI describes it, of a route. files: of a form, by their names, what each is."""
    file = {"type": "string", "format": "binary"}
    named = {name: file | {"description": what} for name, what in files.items()}
    texts = {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}}
    kinds = {
        "image/*": file,
        "multipart/form-data": {"type": "object", "properties": named},
        "application/json": {"type": "object", "properties": {"images": texts}},
    }
    content = {kind: {"schema": schema} for kind, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}}


async def body_of(request: Request) -> bytearray:
    """All of it. Raises Refused."""
    body = bytearray()
    async for part in request.stream():
        body += part
    return body


def parse_json(data: bytes | bytearray, limits: Limits) -> Any:
    """As `json.loads`, of UTF-8 alone. Depth and values are counted before anything is built. Raises Refused."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refused(422, "the JSON is not UTF-8.", "Send it so.") from error
    if b"\\" in data:
        data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    bare = _TEXTS.sub(b"", data)  # each step goes over it once
    lists = bare.count(b"[") + bare.count(b"{")
    if lists > limits.json_lists or bare.count(b",") > limits.json_values:
        raise Refused(413, "the JSON has too many lists or values.", "Send them as binary.")
    depth = 0
    for letter in bare.translate(None, bytes(set(range(256)) - set(_STEPS))):
        depth += _STEPS[letter]
        if depth > limits.json_depth:
            raise Refused(422, f"the JSON is nested more than {limits.json_depth} levels deep.", "Make it flatter.")
    del data, bare  # what is read takes as much again
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(422, "the body is not JSON.", "Check the brackets and the quotes.") from error


def _base64(found: Any, limits: Limits) -> list[bytes]:
    images = found.get("images") if isinstance(found, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Refused(422, 'the JSON has no list "images" of texts.', '{"images": ["BASE64", ...]}')
    if len(images) > limits.photos:
        raise Refused(413, f"{len(images)} photos; expected at most {limits.photos}.", "Send them in several requests.")
    photos = []
    images.reverse()
    try:
        while images:
            letters = images.pop().encode("ascii")  # of which the text is not kept besides
            photos.append(base64.b64decode(letters, validate=True))
    except ValueError as error:
        raise Refused(422, "an image is not base64.", "Encode the bytes of the file, without line breaks.") from error
    return photos


async def _files_of_form(request: Request, limits: Limits) -> list[tuple[bytearray, bool]]:
    """The contents of a form's files, and whether each is SIMILAR_TO.

    Its other fields are passed over, and files' names are not looked at.
    """
    form = _Form(limits.parts)
    try:
        boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
        parser = MultipartParser(boundary, form.callbacks)
        async for part in request.stream():
            parser.write(part)
        parser.finalize()
    except FormParserError as error:
        raise Refused(422, "the form cannot be read.", "Send it as curl -F does.") from error
    if not form.is_whole:
        raise Refused(422, "the form is cut off.", "Send it as curl -F does.")
    return [(data, bool(_SIMILAR_TO.match(head))) for head, data in form.parts if _FILE_NAME.search(head)]


class _Form:
    """The parts of a form as a parser finds them: their headers in one, and their contents."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.parts: list[tuple[bytearray, bytearray]] = []
        self.is_whole = False
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_value": lambda data, start, end: self.parts[-1][0].extend(memoryview(data)[start:end]),
            "on_part_data": lambda data, start, end: self.parts[-1][1].extend(memoryview(data)[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == self._most:
            raise Refused(413, f"the form has more than {self._most} parts.", "Send JSON, or several requests.")
        self.parts.append((bytearray(), bytearray()))

    def _end(self) -> None:
        self.is_whole = True
