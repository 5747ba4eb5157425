"""`location.md`: the keys of a location that is a directory. Reads plain files and nothing else; never writes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from decode import Damage, ensure

OBJECT_BYTES_MAX = 67_108_864
KEY_BYTES_MAX = 1_024
SEGMENTS_MAX = 32
SEGMENT_BYTES_MAX = 200

ID = re.compile(r"[0-9a-f]{32}")
NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")


def is_key(key: str) -> bool:
    try:
        encoded = key.encode("utf-8")
    except UnicodeEncodeError:
        return False
    segments = key.split("/")
    return (
        len(encoded) <= KEY_BYTES_MAX
        and len(segments) <= SEGMENTS_MAX
        and all(segment not in ("", ".", "..") for segment in segments)
        and all(len(segment.encode("utf-8")) <= SEGMENT_BYTES_MAX for segment in segments)
        and not any(ord(letter) < 32 or 127 <= ord(letter) < 160 or letter == "\\" for letter in key)
        and not any(segment.startswith((".nfs", ".keelson-")) for segment in segments)
    )


@dataclass(frozen=True)
class RepositoryPath:
    """`k10/<cluster id>/dr/<repository id>` or `k10/<cluster id>/exports/<application>/<repository id>`."""

    key: str
    cluster: str
    application: str | None


class Location:
    def __init__(self, root: Path) -> None:
        self._root = root.resolve(strict=True)

    def keys(self, beneath: str) -> Iterator[str]:
        """All keys beneath a folder, ordered by their bytes."""
        found = []
        for folder, folders, files in os.walk(self._root / beneath, followlinks=False):
            folders[:] = [name for name in folders if not os.path.islink(os.path.join(folder, name))]
            for name in files:
                path = os.path.join(folder, name)
                key = os.path.relpath(path, self._root)
                if is_key(key) and stat.S_ISREG(os.lstat(path).st_mode):
                    found.append(key)
        return iter(sorted(found, key=lambda key: key.encode("utf-8")))

    def names(self, folder: str) -> list[str]:
        """The keys beneath a folder without the folder's own."""
        return [key[len(folder) + 1 :] for key in self.keys(folder)]

    def holds(self, key: str) -> bool:
        path = self._root / key
        return is_key(key) and path.is_file() and path.resolve() == path

    def read(self, key: str) -> bytes:
        return self.read_range(key, 0, None)

    def read_range(self, key: str, offset: int, length: int | None) -> bytes:
        ensure(self.holds(key), "there is no such object")
        try:
            with open(self._root / key, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                ensure(size <= OBJECT_BYTES_MAX, f"{size} bytes, more than an object has")
                wanted = size - offset if length is None else length
                file.seek(offset)
                data = file.read(wanted)
        except OSError as error:
            raise Damage(f"cannot be read: {error.strerror}") from None
        ensure(len(data) == wanted, "ends early")
        return data

    def repositories(self) -> list[RepositoryPath]:
        found = []
        for key in self.keys("k10"):
            match key.split("/"):
                case ["k10", cluster, "dr", repository, "format"]:
                    found.append(RepositoryPath(f"k10/{cluster}/dr/{repository}", cluster, None))
                case ["k10", cluster, "exports", application, repository, "format"]:
                    path = f"k10/{cluster}/exports/{application}/{repository}"
                    found.append(RepositoryPath(path, cluster, application))
        return found
