"""CBOR, keys and signatures of Fieldproof: docs/spec/envelope.md, identity.md section 1, topics.md section 1.

A `verify` of anything from outside raises Refused; what it returns may be used.
"""

import base64, hashlib

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CBOR, CWT, SENML, COLUMNS = 60, 61, 112, 65001  # COSE content types
ALG, CONTENT_TYPE, KID, STAMP = 1, 3, 4, -65537  # protected header labels


class Refused(Exception):
    """Something from outside that does not verify."""


# --- Deterministic CBOR, RFC 8949 section 4.2.1 -------------------------------------------------------------------


def encode(value):
    """cbor2's `canonical` sorts map keys by length first (RFC 7049), so containers are written here."""
    if isinstance(value, dict):
        pairs = sorted((encode(key), encode(item)) for key, item in value.items())
        return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
    if isinstance(value, (list, tuple)):
        return head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, cbor2.CBORTag):
        return head(6, value.tag) + encode(value.value)
    return cbor2.dumps(value, canonical=True)


def head(major, number):
    """The head of an item: that of the unsigned integer with the major type put in."""
    number = cbor2.dumps(number)
    return bytes([number[0] | major << 5]) + number[1:]


def decode(data):
    """Bytes that do not encode back to themselves are refused: other encodings, duplicate keys, trailing bytes."""
    try:
        value = cbor2.loads(data)
        deterministic = encode(value) == data
    except Exception as error:  # cbor2 lets MemoryError, decimal and date errors through as well
        raise Refused(f"CBOR: {error}") from error
    if not deterministic:
        raise Refused("CBOR: not deterministically encoded")
    return value


# --- Keys and names, identity.md and topics.md section 1 ----------------------------------------------------------

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
P = 2**255 - 19
ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL_ORDER_Y = {0, 1, P - 1, ORDER_8_Y, P - ORDER_8_Y}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def device_id(public_key):
    """'z' and the base58 of the multicodec prefix ed 01 and the key: a did:key without 'did:key:'."""
    number, text = int.from_bytes(b"\xed\x01" + public_key, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = BASE58[digit] + text
    return "z" + text


def key_of_device_id(text):
    number = 0
    for character in text[1:]:
        number = number * 58 + BASE58.find(character)
    data = number.to_bytes(34, "big") if 0 <= number < 256**34 else b""
    if data[:2] != b"\xed\x01" or device_id(data[2:]) != text:
        raise Refused(f"device id: not an Ed25519 did:key: {text}")
    return data[2:]


def public_of(key):
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def kid(public_key):
    return hashlib.sha256(public_key).digest()[:8]


def network_id(root):
    return base64.b32encode(hashlib.sha256(root).digest()).decode().lower()[:8]


# --- COSE_Sign1, envelope.md --------------------------------------------------------------------------------------


def sig_structure(protected, aad, payload):
    return encode(["Signature1", protected, encode(aad), payload])


def sign(key, aad, payload, content_type=CBOR, stamp=None):
    header = {ALG: -19, CONTENT_TYPE: content_type, KID: kid(public_of(key))}
    if stamp is not None:
        header[STAMP] = stamp
    protected = encode(header)
    signature = key.sign(sig_structure(protected, aad, payload))
    return encode(cbor2.CBORTag(18, [protected, {}, payload, signature]))


def verify(message, public_key, aad, content_type=CBOR, stamped=False):
    """The (header, payload) of a message that verifies under the key and the external_aad; else Refused."""
    tag = decode(message)
    if getattr(tag, "tag", None) != 18 or not isinstance(tag.value, list) or len(tag.value) != 4 or tag.value[1] != {}:
        raise Refused("COSE: not a COSE_Sign1 with tag 18 and an empty unprotected map")
    protected, _, payload, signature = tag.value
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)):
        raise Refused("COSE: protected, payload and signature are byte strings")
    header = decode(protected)
    labels = {ALG, CONTENT_TYPE, KID} | ({STAMP} if stamped else set())
    if not isinstance(header, dict) or set(header) != labels or header[ALG] not in (-19, -8):
        raise Refused("COSE: header labels or algorithm")
    if header[CONTENT_TYPE] != content_type or header[KID] != kid(public_key):
        raise Refused("COSE: another content type or key id")
    check_ed25519(public_key, signature, sig_structure(protected, aad, payload))
    return header, payload


def check_ed25519(public_key, signature, message):
    """Section 5: OpenSSL checks S < L and the cofactorless equation, but neither that A is canonical nor its order."""
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if y >= P or y in SMALL_ORDER_Y:
        raise Refused("Ed25519: public key not canonical, or of small order")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise Refused("Ed25519: signature invalid") from error


def check_checkpoint(text, origin, log_key):
    """The (size, root) of a C2SP checkpoint signed by the log's key (evidence-log.md 3.2)."""
    body, _, signatures = text.partition("\n\n")
    body += "\n"
    key_hash = hashlib.sha256(origin.encode() + b"\n\x01" + log_key).digest()[:4]
    try:
        name, size, root = body.split("\n")[:3]
        for line in signatures.splitlines():
            dash, signer, blob = line.split(" ")
            blob = base64.b64decode(blob, validate=True)
            if name == origin and dash == "—" and signer == origin and blob[:4] == key_hash:
                check_ed25519(log_key, blob[4:], body.encode())
                return int(size), base64.b64decode(root, validate=True)
    except ValueError as error:
        raise Refused(f"checkpoint: {error}") from error
    raise Refused("checkpoint: not signed by the log")
