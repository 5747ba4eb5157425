"""`grants.md`: data keys of exports, wrapped once more for other installations."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from catalog import Row, unpack_body
from decode import decode_json_object, ensure
from disaster_recovery import take, take_bytes
from envelope import hkdf, open_box
from location import ID, Location
from report import Report
from repository import Repository, id_of
from slots_and_keys import decode_key_file, fingerprint, open_data_key

GIVEN = "grants-given"


def granted_vault_key(grant_key: bytes, application: str, number: int) -> bytes:
    """What stands in the place of a vault key for whoever holds the grant."""
    part = hkdf(grant_key, b"keelson/0/grant/application/" + application.encode())
    return hkdf(part, b"keelson/0/grant/vault-key" + struct.pack("<I", number))


@dataclass
class GrantKeys:
    """The keys that catalogs keep. One that was given by a policy which was deleted since may be in none."""

    by_grant: dict[str, bytes] = field(default_factory=dict)

    def add_given(self, rows: Iterable[Row], catalog_key: bytes) -> None:
        for row in rows:
            if row.kind != GIVEN:
                continue
            kept = decode_json_object(unpack_body(row.body))
            context = f"{row.kind}/{row.namespace}/{row.name}".encode()
            grant_key = open_box(catalog_key, "secret field", context, take_bytes(kept, "key"))
            ensure(len(grant_key) == 32, "a grant key that has not 32 bytes")
            self.by_grant[take(take(kept, "grant", dict), "grant", str)] = grant_key


class GrantCheck:
    """Reads each granted key, and opens those whose grant and repository are at hand."""

    def __init__(self, location: Location, repositories: Iterable[Repository], grant_keys: GrantKeys) -> None:
        self._location = location
        self._repositories: Mapping[str, Repository] = {repository.path.key: repository for repository in repositories}
        self._grant_keys = grant_keys
        self.found = 0
        self.opened = 0

    def run(self, report: Report) -> None:
        for key in self._location.keys("k10"):
            match key.split("/"):
                case ["k10", _, "grants", grant, application, repository, number]:
                    self.found += 1
                    with report.reading(key):
                        self._check(key, grant, application, repository, number)

    def _check(self, key: str, grant: str, application: str, granted: str, number: str) -> None:
        ensure(ID.fullmatch(grant) is not None, "not of a grant that is named by an id")
        file = decode_key_file(self._location.read(key))
        ensure(number == str(file.number), f"key {file.number} under another number")
        cluster, _, repository_id = granted.partition(".")
        ensure(file.repository_id == id_of(repository_id), "another repository's key")
        ensure(file.previous_vault_key is None, "a granted key leads to no key before it")
        grant_key = self._grant_keys.by_grant.get(grant)
        repository = self._repositories.get(f"k10/{cluster}/exports/{application}/{repository_id}")
        if grant_key is None or repository is None:
            return
        wrapping = granted_vault_key(grant_key, application, file.number)
        ensure(fingerprint(wrapping) == file.fingerprint, "under another key than its grant's")
        data_key = open_data_key(wrapping, file, repository.format.sum)
        ensure(repository.keys.get(file.number, data_key) == data_key, "another key than the repository's")
        self.opened += 1
