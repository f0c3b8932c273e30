#!/usr/bin/env python3
"""Checks every vector of protocol/vectors with the functions of cose.py and joining.py, so without any code of the network.

Each check is one assertion about one vector. Usage: check_vectors.py [folder of the vectors]
"""

import hashlib, json, pathlib, struct, sys
from decimal import Decimal

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import cose as fp
from joining import parse_join

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[2] / "protocol" / "vectors"
# Which key signs what: content type 60 and [network, purpose], unless said otherwise.
STATEMENTS = {
    "network descriptor": ("root", ["descriptor"]),
    "hello": ("registry", ["hello"]),
    "ownership": ("owner", ["ownership"]),
    "enrolment": ("device", ["enrol"]),
    "credential": ("registry", ["credential", "ID"]),
    "login": ("device", ["login"]),
    "receipt envelope": ("log", ["receipt", "ID"]),
    "reject envelope": ("log", ["reject", "ID"]),
    "telemetry envelope": ("device", ["telemetry"]),
    "unsynchronised envelope": ("device", ["telemetry"]),
    "columns envelope": ("device", ["telemetry"]),
    "birth envelope": ("device", ["birth"]),
    "event envelope": ("device", ["event"]),
    "gap envelope": ("device", ["gap"]),
}
TEXTS = ("join line", "checkpoint", "telemetry topic", "receipt topic")
passed, failed = 0, 0


def check(name, condition):
    global passed, failed
    passed, failed = (passed + 1, failed) if condition else (passed, failed + 1)
    if not condition:
        print(f"FAILED {name}")


def refuses(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except fp.Refused:
        return True
    return False


# --- RFC 6962 -----------------------------------------------------------------------------------------------------


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def merkle_root(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(merkle_root(leaves[:split]), merkle_root(leaves[split:]))


def root_of_inclusion(leaf, index, size, proof):
    """RFC 9162 section 2.1.3.2; None where the proof has another length than index and size ask for."""
    last, root = size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if index & 1 or index == last:
            root = node_hash(sibling, root)
            while index & 1 == 0 and index:
                index, last = index >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        index, last = index >> 1, last >> 1
    return root if last == 0 else None


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# --- Diagnostic notation, RFC 8949 section 8 ----------------------------------------------------------------------


def diagnostic(value):
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{diagnostic(k)}: {diagnostic(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(diagnostic, value)) + "]"
    if isinstance(value, cbor2.CBORTag):
        return f"{value.tag}({diagnostic(value.value)})"
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        return f"4([{exponent}, {'-' * sign}{int(''.join(map(str, digits)))}])"
    return json.dumps(value, ensure_ascii=False)


# --- The vectors --------------------------------------------------------------------------------------------------

cases = {}
for file in sorted(FOLDER.glob("*.json")):
    for case in json.loads(file.read_text())["cases"]:
        cases[file.stem, case["name"]] = case | {"bytes": bytes.fromhex(case["hex"]), "inputs": case.get("inputs", {})}
by_name = {name: case for (_, name), case in cases.items()}
publics = {name[5:]: case["bytes"] for name, case in by_name.items() if name.startswith("key: ")}
seeds = {name[5:]: bytes.fromhex(case["inputs"]["seed"]) for name, case in by_name.items() if name.startswith("key: ")}
DEVICE_KEY = Ed25519PrivateKey.from_private_bytes(seeds["device"])
network, me = fp.network_id(publics["root"]), fp.device_id(publics["device"])


def check_text(name, case):
    check(f"{name}: text", case["bytes"].decode().removesuffix("\n") == case["diagnostic"])


def check_cbor(name, case):
    value = cbor2.loads(case["bytes"])
    check(f"{name}: deterministic", fp.encode(value) == case["bytes"])
    check(f"{name}: diagnostic", diagnostic(value) == case["diagnostic"] if "diagnostic" in case else True)
    if isinstance(value, cbor2.CBORTag):
        protected, _, payload, _ = value.value
        check(f"{name}: header deterministic", fp.encode(cbor2.loads(protected)) == protected)
        check(f"{name}: payload deterministic", fp.encode(cbor2.loads(payload)) == payload)


def check_signature(name, case):
    signer, context = STATEMENTS[name]
    aad = [network] + [me if part == "ID" else part for part in context]
    message, public, key = case["bytes"], publics[signer], Ed25519PrivateKey.from_private_bytes(seeds[signer])
    header = cbor2.loads(cbor2.loads(message).value[0])
    options = {"content_type": header[3], "stamped": fp.STAMP in header}
    _, payload = fp.verify(message, public, aad, **options)
    check(f"{name}: signs again to the same bytes", fp.sign(key, aad, payload, header[3], header.get(-65537)) == message)
    altered = [message[:i] + bytes([message[i] ^ 1]) + message[i + 1 :] for i in range(len(message))]
    check(f"{name}: no altered byte verifies", all(refuses(fp.verify, m, public, aad, **options) for m in altered))
    check(f"{name}: bound to its context", refuses(fp.verify, message, public, aad + ["x"], **options))
    other = publics["owner" if signer != "owner" else "root"]
    check(f"{name}: bound to its key", refuses(fp.verify, message, other, aad, **options))


for (file, name), case in cases.items():
    if name.startswith("key: "):
        person, data = name[5:], case["bytes"]
        check(f"{name}: seed", hashlib.sha256(f"fieldproof example {person}".encode()).digest() == seeds[person])
        check(f"{name}: public key", fp.public_of(Ed25519PrivateKey.from_private_bytes(seeds[person])) == data)
        check(f"{name}: id", fp.device_id(data) == case["inputs"]["id"])
        check(f"{name}: key of id", fp.key_of_device_id(case["inputs"]["id"]) == data)
    elif name in TEXTS:
        check_text(name, case)
    elif name not in ("frame", "inclusion proof"):
        check_cbor(name, case)
    if name in STATEMENTS:
        check_signature(name, case)

# Envelope: the intermediate values.
case = by_name["telemetry envelope"]
inputs, (protected, _, payload, signature) = case["inputs"], cbor2.loads(case["bytes"]).value
check("envelope: topic", inputs["topic"] == f"fp/1/{network}/d/{me}/telemetry" == by_name["telemetry topic"]["diagnostic"])
check("envelope: external_aad", fp.encode([network, "telemetry"]).hex() == inputs["externalAad"])
check("envelope: protected", protected.hex() == inputs["protected"])
check("envelope: payload", payload.hex() == inputs["payload"])
check("envelope: Sig_structure", fp.sig_structure(protected, [network, "telemetry"], payload).hex() == inputs["sigStructure"])
check("envelope: signature", signature.hex() == inputs["signature"])
check("envelope: digest", hashlib.sha256(case["bytes"]).hexdigest() == inputs["digest"])
check("topics: receipt", by_name["receipt topic"]["diagnostic"] == f"fp/1/{network}/d/{me}/receipt")
check("messages: birth", cbor2.loads(by_name["birth envelope"]["bytes"]).value[2] == by_name["birth"]["bytes"])
check("settlement: receipt", cbor2.loads(by_name["receipt envelope"]["bytes"]).value[2] == by_name["receipt"]["bytes"])
check("settlement: reject", cbor2.loads(by_name["reject envelope"]["bytes"]).value[2] == by_name["reject"]["bytes"])

# Identity: what the statements say of each other.
claims = {name: cbor2.loads(cbor2.loads(by_name[name]["bytes"]).value[2]) for name in STATEMENTS}
descriptor, hello, enrolment = claims["network descriptor"], claims["hello"], claims["enrolment"]
check("descriptor: network", descriptor["network"] == network)
check("descriptor: keys", descriptor["keys"] == {k: publics[k] for k in ("registry", "log", "control", "ledger")})
check("hello: client nonce", hello["clientNonce"] == fp.unb64(by_name["hello"]["inputs"]["clientNonce"]))
check("hello: server nonce", len(hello["nonce"]) == 32 and struct.unpack(">Q", hello["nonce"][:8])[0] == hello["time"])
check("enrolment: nonce and key", enrolment["nonce"] == hello["nonce"] and enrolment["key"] == publics["device"])
check("enrolment: owner", enrolment["owner"] == "did:key:" + fp.device_id(publics["owner"]))
check("enrolment: ownership", enrolment["ownership"] == by_name["ownership"]["bytes"])
check("ownership: device", claims["ownership"] == {"device": me})
check("credential: device", claims["credential"]["device"] == me and claims["credential"]["key"] == publics["device"])
join_inputs = by_name["join line"]["inputs"]
join_http, join_network, join_root, join_token = parse_join(by_name["join line"]["diagnostic"])
check("join line: root", join_root == publics["root"] == bytes.fromhex(join_inputs["root"]))
check("join line: token", join_token == enrolment["token"] == bytes.fromhex(join_inputs["token"]))
check("join line: address and network", (join_http, join_network) == ("http://127.0.0.1:7880", network))
check("login: password", fp.b64(by_name["login"]["bytes"]) == by_name["login"]["inputs"]["password"])
check("login: user name", by_name["login"]["inputs"]["username"] == me)
check("login: claims", claims["login"] == {1: f"did:key:{me}", 3: network, 10: hello["nonce"]})

# Evidence: entries, frame, checkpoint, proof.
entries = [case["bytes"] for (file, name), case in cases.items() if file == "evidence" and name.startswith("entry ")]
for number, ((file, name), case) in enumerate((k, c) for k, c in cases.items() if k[0] == "evidence" and k[1][:6] == "entry "):
    check(f"{name}: leaf hash", leaf_hash(case["bytes"]).hex() == case["inputs"]["leafHash"] and name[6] == str(number))
envelope = by_name["telemetry envelope"]["bytes"]
batch = cbor2.loads(entries[3])
check("entry 0: descriptor", cbor2.loads(entries[0])[2] == by_name["network descriptor"]["bytes"])
check("entry 1: statement", not refuses(fp.verify, cbor2.loads(entries[1])[4], publics["registry"], [network, "registry"]))
check("entry 3: device and digest", batch[1] == publics["device"] and batch[9] == hashlib.sha256(envelope).digest())
check("entry 3: stamp, size", [*batch[2:5], batch[8]] == [*cbor2.loads(protected)[-65537][:3], len(envelope)])
root = merkle_root([leaf_hash(entry) for entry in entries[:6]])
check("entry 6: root of the six before", cbor2.loads(entries[6])[3:5] == [6, root])
root = merkle_root([leaf_hash(entry) for entry in entries])

frame = by_name["frame"]["bytes"]
length, crc, index, entry_length = struct.unpack(">IIQI", frame[:20])
check("frame: length and crc", length == len(frame) - 8 and crc == crc32c(frame[8:]))
check("frame: entry and body", (index, frame[20:]) == (3, entries[3] + envelope) and entry_length == len(entries[3]))

note, origin = by_name["checkpoint"]["bytes"].decode(), descriptor["origins"]["evidence"]
check("checkpoint: origin", origin == f"fieldproof/{network}/evidence")
check("checkpoint: size and root", fp.check_checkpoint(note, origin, publics["log"]) == (7, root))
check("checkpoint: inputs", by_name["checkpoint"]["inputs"] == {"publicKey": publics["log"].hex(), "root": root.hex()})
check("checkpoint: altered", refuses(fp.check_checkpoint, note.replace("\n7\n", "\n8\n"), origin, publics["log"]))
check("receipt: checkpoint, entry", claims["receipt envelope"]["checkpoint"] == note and claims["receipt envelope"]["entry"] == [3, leaf_hash(entries[3])])
stamp = cbor2.loads(protected)[fp.STAMP]
refused = fp.sign(DEVICE_KEY, [network, "telemetry"], payload, fp.SENML, [*stamp[:2], 2, *stamp[3:]])
reject, (boot,) = claims["reject envelope"], claims["receipt envelope"]["boots"]
check("reject: digest of the telemetry envelope with seq 2", reject["digest"] == hashlib.sha256(refused).digest())
check("reject: boot and seq", [*reject["boot"], reject["seq"]] == [*stamp[:2], 2])
check("receipt: lists the reject", boot == [*stamp[:2], 3, [[6, 8]], [[2, reject["code"]]]])
check("receipt: heads", claims["receipt envelope"]["heads"] == [[0, 7, root]])

proof, inputs = by_name["inclusion proof"]["bytes"], by_name["inclusion proof"]["inputs"]
hashes = [proof[i : i + 32] for i in range(0, len(proof), 32)]
check("inclusion proof: inputs", inputs == {"leafHash": leaf_hash(entries[3]).hex(), "root": root.hex()})
check("inclusion proof", root_of_inclusion(leaf_hash(entries[3]), 3, 7, hashes) == root)
check("inclusion proof: another index", root_of_inclusion(leaf_hash(entries[3]), 2, 7, hashes) != root)
check("inclusion proof: shorter", root_of_inclusion(leaf_hash(entries[3]), 3, 7, hashes[:-1]) != root)

print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
