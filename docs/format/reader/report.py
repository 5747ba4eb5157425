"""What was found wrong, by the key of the object, so that one damaged object does not hide the next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from decode import Damage, Unreadable


@dataclass
class Report:
    damaged: list[tuple[str, str]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)

    def add_damage(self, key: str, what: str) -> None:
        if (key, what) not in self.damaged:
            self.damaged.append((key, what))

    def has_unread(self, folder: str) -> bool:
        """Whether something beneath the folder was not opened."""
        return any(key.startswith(f"{folder}/") for key, _ in self.unread)

    @contextmanager
    def reading(self, key: str) -> Iterator[None]:
        """Notes what goes wrong in its body, which ends there, and goes on."""
        try:
            yield
        except Damage as damage:
            self.add_damage(key, str(damage))
        except Unreadable as reason:
            self.unread.append((key, str(reason)))
