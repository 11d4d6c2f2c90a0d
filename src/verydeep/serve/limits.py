"""What a request may cost. Each limit holds before the memory or the time is spent."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of one server."""

    header_bytes: int = 16 << 10
    header_seconds: float = 10.0  # from the first byte, or from the connection, to the end of the header
    body_bytes: int = 20 << 20
    body_seconds: float = 30.0
    held_bytes: int = 256 << 20  # of the bodies of all requests together
    request_seconds: float = 30.0  # from the body's end to the answer
    connections: int = 2048
    linger_seconds: float = 2.0  # in which the rest of a body that was refused is read and thrown away
    keep_alive_seconds: float = 5.0  # between an answer and the next request
    parts: int = 8  # of a form
    photos: int = 64  # of a request
    json_depth: int = 32
    json_lists: int = 100_000
    json_values: int = 2_000_000  # one number takes 32 bytes once it is read
    largest_batch: int = 16  # images that the engine computes at once
    queued_batches: int = 4  # so many images of a model are in the house at most, those being decoded included
    whole_pixels: int = 1 << 20  # of a photo as a network of pixels gets it
    answer_values: int = 4 << 20  # numbers in an answer, of such a network
    explanations: int = 4  # that wait or run at once; they take turns
    decoders: int = 2  # processes
    decode_seconds: float = 10.0  # of a photo
    decode_bytes: int = 2 << 30  # of a process
