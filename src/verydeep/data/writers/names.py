"""Names from outside -> names of files that every system takes, each once."""

import re
import unicodedata
from collections.abc import Iterable

_BYTES = 120  # of UTF-8: a name may have 255 on most disks, and a suffix and a number follow
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # devices of Windows


class Names:
    """Gives names out, each once, whatever letters are capitals: some disks take Cat and cat for one."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """A name like the one wanted."""
        plain = safe_name(wanted)
        name, number = plain, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{plain}-{number}"
        self._taken.add(name.casefold())
        return name


def safe_name(text: str) -> str:
    """Letters, digits and spaces of any script as they are, "_" for what a path or a system has other uses for."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(c if c.isprintable() and c not in '<>:"/\\|?*' else "_" for c in text)
    text = text.encode(errors="replace")[:_BYTES].decode(errors="ignore").strip(" .")
    if text.startswith("-"):  # an option of many programs
        text = f"_{text[1:]}"
    return f"_{text}" if not text or _RESERVED.match(text) else text


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """A folder for each class, in the order of the classes."""
    names = Names()
    return {label: names.take(label) for label in labels}
