"""`drill-report.md`: the signed report of a drill, checked with a public key that was kept elsewhere."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from decode import Damage, decode_json_object, ensure, refuse_later

SIGNED_AS = b"keelson/0/drill-report\n"


def check_report(data: bytes, public_key: bytes) -> dict[str, Any]:
    """What was found, as it was signed."""
    lines = data.split(b"\n")
    ensure(len(lines) == 3 and lines[2] == b"", "a report is two lines")
    seal = decode_json_object(lines[1])
    ensure(seal.get("algorithm") == "Ed25519", "the seal is of another algorithm")
    try:
        signature = bytes.fromhex(str(seal.get("signature")))
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, SIGNED_AS + lines[0] + b"\n")
    except (ValueError, InvalidSignature):
        raise Damage("the report was changed, or another platform signed it") from None
    found = decode_json_object(lines[0])
    version = found.get("version")
    ensure(isinstance(version, int), "the report states no version")
    refuse_later(version)
    return found
