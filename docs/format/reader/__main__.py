"""Reads a location of Keelson with nothing but the pages in `docs/format`: see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from catalog import State, unpack_body
from decode import Damage, Unreadable, decode_json_object, ensure
from disaster_recovery import PlatformRepository, continuations, newest_chain, read_lineages
from drill_report import check_report
from grants import GrantCheck, GrantKeys
from kit import open_kit
from location import Location
from objects import decode_objects
from report import Report
from repository import PURPOSES, RESULTS, Repository
from slots_and_keys import VaultKeys
from verify import RepositoryCheck, verify_clusters, verify_platform

PASSPHRASE_VARIABLE = "KEELSON_PASSPHRASE"
WHOLE, DAMAGED, MISUSED, UNREAD = 0, 1, 2, 3


class Opened:
    """A location with all that a passphrase opens in it."""

    def __init__(self, location: Location, passphrase: bytes) -> None:
        self.location = location
        self.report = Report()
        self.vault_keys = VaultKeys()
        self.repositories: list[Repository] = []
        for path in location.repositories():
            with self.report.reading(f"{path.key}/format"):
                self.repositories.append(Repository(location, path, self.report))
        for repository in self.repositories:
            repository.open_slots(passphrase, self.vault_keys)
        known = -1
        while known < len(self.vault_keys.by_fingerprint):
            known = len(self.vault_keys.by_fingerprint)
            for repository in self.repositories:
                repository.open_keys(self.vault_keys)
        for repository in self.repositories:
            repository.load_index()

    def repository(self, key: str) -> Repository:
        for repository in self.repositories:
            if key in (repository.path.key, repository.format.repository_id.hex()):
                return repository
        raise Damage(f"no repository {key}")

    def platforms(self) -> list[PlatformRepository]:
        platform = [r for r in self.repositories if r.path.application is None]
        return [PlatformRepository(repository, self.vault_keys) for repository in platform]


def write_line(value: dict[str, Any]) -> None:
    print(json.dumps(value))


def time(microseconds: int) -> str:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return f"{microseconds} µs since 1970"


def bytes_or_json(data: bytes) -> Any:
    """JSON where it is a JSON object, otherwise hexadecimal."""
    try:
        return decode_json_object(data)
    except Damage:
        return {"hex": data.hex()}


def list_location(opened: Opened) -> None:
    for key in opened.location.keys("k10"):
        if key.split("/")[2:3] == ["cards"]:
            with opened.report.reading(key):
                write_line({"card": key, "content": decode_json_object(opened.location.read(key))})
    for lineage in read_lineages(opened.location, opened.vault_keys, opened.report):
        write_line(
            {
                "lineage": lineage.id,
                "cluster": lineage.cluster,
                "epochs": lineage.epochs,
                "strangers": lineage.strangers,
            }
        )
    for repository in opened.repositories:
        list_repository(repository)


def list_repository(repository: Repository) -> None:
    slots = [
        {
            "slot": slot.id.hex(),
            "vaultKey": slot.vault_key,
            "derivation": slot.describe(),
            "opens": slot.id in repository.opened_slots,
        }
        for slot in repository.slots
    ]
    write_line(
        {
            "repository": repository.path.key,
            "cluster": repository.path.cluster,
            "application": repository.path.application,
            "slots": slots,
            "keys": [{"number": file.number, "opens": file.number in repository.keys} for file in repository.key_files],
        }
    )
    retired = repository.retired()
    for name in repository.outcome_ids():
        with repository.report.reading(repository.key(f"outcomes/{name}")):
            outcome = repository.outcome(name)
            write_line(
                {
                    "outcome": name,
                    "repository": repository.path.key,
                    "result": RESULTS[outcome.result],
                    "purpose": PURPOSES[outcome.purpose],
                    "created": time(outcome.created),
                    "lockedUntil": None if outcome.locked_until is None else time(outcome.locked_until),
                    "retired": name in retired,
                    "description": bytes_or_json(outcome.description),
                    "streams": [
                        {
                            "name": stream.name,
                            "bytes": stream.length,
                            "depth": stream.depth,
                            "attributes": stream.attributes,
                        }
                        for stream in outcome.streams
                    ],
                }
            )


def verify_location(opened: Opened) -> None:
    outcomes = 0
    for repository in opened.repositories:
        with opened.report.reading(repository.path.key):
            check = RepositoryCheck(repository)
            check.run()
            outcomes += check.outcomes
    grant_keys = GrantKeys()
    for platform in opened.platforms():
        verify_platform(platform, grant_keys)
    verify_clusters(opened.location, opened.vault_keys, opened.report)
    grants = GrantCheck(opened.location, opened.repositories, grant_keys)
    grants.run(opened.report)
    report = opened.report
    write_line(
        {
            "repositories": len(opened.repositories),
            "packs": sum(len(repository.packs) for repository in opened.repositories),
            "outcomes": outcomes,
            "grantedKeys": {"found": grants.found, "opened": grants.opened},
            "damaged": len(report.damaged),
            "unread": len(report.unread),
        }
    )


def read_stream(opened: Opened, arguments: argparse.Namespace) -> Iterator[bytes]:
    repository = opened.repository(arguments.repository)
    streams = [s for s in repository.outcome(arguments.outcome).streams if s.name == arguments.stream]
    ensure(len(streams) == 1, f"{len(streams)} streams are called {arguments.stream}")
    return repository.stream(streams[0])


def choose_cluster(platforms: list[PlatformRepository], asked: str | None) -> str:
    """The id that was asked for, or the only one. Epochs are claimed for each id, so positions of two are not compared."""
    clusters = sorted({one.repository.path.cluster for one in platforms if one.bases})
    if asked is None and len(clusters) > 1:
        raise OSError(f"name a cluster id, the location has chains of several: {', '.join(clusters)}")
    return asked or "".join(clusters)


def print_catalog(opened: Opened, asked: str | None) -> None:
    platforms = opened.platforms()
    cluster = choose_cluster(platforms, asked)
    found = newest_chain(platforms, cluster)
    if found is None:
        raise Damage("there is no chain, or none that opens")
    platform, base = found
    reached = deque(platform.replay(base), maxlen=1).pop()
    print_rows(reached.state)
    write_line(
        {
            "repository": platform.repository.path.key,
            "base": base.at.name(),
            "at": reached.at.name(),
            "chain": reached.chain.hex(),
            "digests": [digest.hex() for digest in reached.state.digests()],
            "counts": reached.state.counts(),
            "continuedBy": [
                {"repository": other.repository.path.key, "at": at.name()}
                for other, at in continuations(platforms, cluster)
            ],
        }
    )


def print_rows(state: State) -> None:
    for row in sorted(state.rows.values(), key=lambda row: row.order()):
        write_line(
            {
                "kind": row.kind,
                "namespace": row.namespace,
                "name": row.name,
                "uid": row.uid,
                "class": row.row_class,
                "revision": [row.revision.generation, row.revision.sequence],
                "created": time(row.created),
                "labels": dict(row.labels),
                "body": bytes_or_json(unpack_body(row.body)),
            }
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="reader", description=__doc__)
    parser.add_argument("--location", type=Path, help="the directory that k10/ lies in; not for kit and check-report")
    parser.add_argument(
        "--passphrase-file", type=Path, help=f"otherwise the passphrase is taken from {PASSPHRASE_VARIABLE}"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what is there, one JSON object a line")
    commands.add_parser("verify", help="check everything; exits with 1 and names each damage")
    cat = commands.add_parser("cat", help="write a stream's bytes to stdout")
    objects = commands.add_parser("objects", help="write the objects in an application's stream, one a line")
    for argument in ("repository", "outcome", "stream"):
        cat.add_argument(argument)
        objects.add_argument(argument)
    newest = commands.add_parser("catalog", help="rebuild the newest catalog: its rows, then its digests")
    newest.add_argument("cluster", nargs="?", help="the id below which it lies; needed where several have chains")
    kit = commands.add_parser("kit", help="open a recovery kit with its passphrase and print its document")
    kit.add_argument("file", type=Path)
    report = commands.add_parser("check-report", help="check the report of a drill and print what was found")
    report.add_argument("file", type=Path)
    report.add_argument("--key", required=True, help="the platform's public key, 64 hexadecimal digits")
    return parser.parse_args()


def read_passphrase(file: Path | None) -> bytes:
    """The bytes as they are, but for one line end, of either kind, at the end of a file."""
    if file is not None:
        phrase = file.read_bytes()
        return phrase.removesuffix(b"\r\n") if phrase.endswith(b"\r\n") else phrase.removesuffix(b"\n")
    if PASSPHRASE_VARIABLE not in os.environ:
        raise OSError(f"neither --passphrase-file nor {PASSPHRASE_VARIABLE} is given")
    return os.environb[PASSPHRASE_VARIABLE.encode()]


def run(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "kit":
            write_line(open_kit(arguments.file.read_bytes(), read_passphrase(arguments.passphrase_file)))
            return WHOLE
        case "check-report":
            try:
                key = bytes.fromhex(arguments.key)
            except ValueError:
                raise OSError("--key is 64 hexadecimal digits") from None
            write_line(check_report(arguments.file.read_bytes(), key))
            return WHOLE
    return run_on_location(arguments)


def run_on_location(arguments: argparse.Namespace) -> int:
    if arguments.location is None:
        raise OSError(f"{arguments.command} reads a --location")
    opened = Opened(Location(arguments.location), read_passphrase(arguments.passphrase_file))
    match arguments.command:
        case "list":
            list_location(opened)
        case "verify":
            verify_location(opened)
        case "cat":
            for piece in read_stream(opened, arguments):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        case "objects":
            for captured in decode_objects(read_stream(opened, arguments)):
                write_line(captured)
        case "catalog":
            print_catalog(opened, arguments.cluster)
    for key, what in opened.report.damaged:
        print(f"damaged: {key}: {what}", file=sys.stderr)
    for key, why in opened.report.unread:
        print(f"not read: {key}: {why}", file=sys.stderr)
    return DAMAGED if opened.report.damaged else UNREAD if opened.report.unread else WHOLE


def main() -> int:
    arguments = parse_arguments()
    try:
        return run(arguments)
    except RecursionError:
        print("error: JSON that is nested too deeply", file=sys.stderr)
        return DAMAGED
    except (Damage, Unreadable) as reason:
        print(f"error: {reason}", file=sys.stderr)
        return DAMAGED if isinstance(reason, Damage) else UNREAD
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISUSED


sys.exit(main())
