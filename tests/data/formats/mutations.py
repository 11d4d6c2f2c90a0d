"""Files that are a little wrong, as a damaged disk, a careless editor or an attacker makes them."""

import numpy as np

_PIECES = (
    *(b'"', b"'", b"\0", b"\n", b"\r", b"\xff\xfe", b"\xef\xbb\xbf", b",", b";", b"|", b"\t", b"{", b"[", b"]}"),
    *(b"../../../etc/passwd", b"/etc/passwd", b"C:\\x.jpg", b"//server/share/x.jpg", b"\\ud800", b"\xed\xa0\x80"),
    *(b"NaN", b"Infinity", b"1e999", b"-1", b"0", b"9" * 400, b"null", b"true", b'"a":', b"[" * 50, b"train", b"test"),
)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """The data after one to four small accidents."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 5)):
        at = int(random.integers(0, len(changed) + 1))
        until = min(len(changed), at + int(random.integers(1, 20)))
        accident = random.integers(0, 6)
        if accident == 0 and changed:
            changed[min(at, len(changed) - 1)] = int(random.integers(0, 256))
        elif accident == 1:
            del changed[at:until]
        elif accident == 2:
            changed[at:at] = changed[at:until]
        elif accident == 3:
            changed[at:until] = _PIECES[random.integers(0, len(_PIECES))]
        elif accident == 4:
            changed[at:at] = _PIECES[random.integers(0, len(_PIECES))]
        elif random.random() < 0.2:
            del changed[at:]
    return bytes(changed)
