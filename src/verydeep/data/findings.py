"""What is noticed in a set of annotated photos, as data that is told in words, in JSON and in CSV."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # the worst first


@dataclass(frozen=True)
class Place:
    """Where it is: a file, or those that belong together, and what is said of them alone."""

    files: tuple[str, ...]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"files": list(self.files), "note": self.note}


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was noticed, with all places where it is."""

    kind: str  # a word for programs: "unreadable-photo"
    severity: Severity
    message: str  # a clause that says what and how often: "3 photos cannot be read"
    places: tuple[Place, ...] = ()
    action: str = ""  # what training makes of it, and what to do

    @property
    def files(self) -> tuple[str, ...]:
        """All that are concerned, each once."""
        return tuple(dict.fromkeys(file for place in self.places for file in place.files))

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": self.severity,
            "message": self.message,
            "count": len(self.places),
            "places": [place.to_dict() for place in self.places],
            "action": self.action,
        }


def counted(count: int, noun: str, plural: str = "") -> str:
    """ "1 photo", "3 photos"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(names: Iterable[str], most: int = 8) -> str:
    """The first of the names, and how many more there are."""
    everything = list(names)
    more = f" and {len(everything) - most:,} more" if len(everything) > most else ""
    return ", ".join(everything[:most]) + more
