#!/usr/bin/env python3
"""A Fieldproof device, written from docs/spec alone. The README beside it says how to run it.

It joins a network, logs in, sends a birth and two telemetry envelopes, and forgets an envelope only when a
verified receipt settles it. Section numbers are those of docs/spec. Left out: TLS, so it serves loopback only
(join lines with plain=1); credential renewal; heartbeats; the owner's recovery phrase (a key file instead).
"""

import argparse, hashlib, os, pathlib, secrets, struct, sys, time
from decimal import Decimal

import cbor2
import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cose import CBOR, COLUMNS, CWT, SENML, Refused, b64, check_checkpoint, decode, device_id, encode, public_of, sign, verify
from joining import Network

AGENT = "fieldproof-python-example/1"

# --- What must survive a power cut --------------------------------------------------------------------------------


def save(path, data):
    """temp, fsync, rename, fsync of the folder; readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def load_key(path):
    if not path.exists():
        save(path, secrets.token_bytes(32))
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


class Boot:
    """One start of the device: the stamp's counter, seed, seq and clock (envelope.md section 3)."""

    def __init__(self, folder, key, network, bound_ms):
        self.folder, self.key, self.network, self.bound_ms = folder, key, network, bound_ms
        self.counter = int((folder / "boot").read_text()) + 1 if (folder / "boot").exists() else 1
        save(folder / "boot", str(self.counter).encode())
        self.seed, self.seq, self.start = secrets.token_bytes(4), 0, time.monotonic()

    def seal(self, kind, payload, content_type=CBOR):
        """Signs and keeps: an envelope is in the outbox before it leaves, named after its place in history."""
        boot_ms = int((time.monotonic() - self.start) * 1000)
        stamp = [self.counter, self.seed, self.seq, boot_ms, self.bound_ms]
        message = sign(self.key, [self.network, kind], payload, content_type, stamp)
        path = self.folder / "outbox" / f"{self.counter:010}-{self.seed.hex()}-{self.seq:016}-{kind}"
        save(path, message)
        self.seq += 1
        return path


def place(path):
    """(boot counter, boot seed, seq, kind) of a file in the outbox or the parked store."""
    counter, seed, seq, kind = path.name.split("-")
    return int(counter), bytes.fromhex(seed), int(seq), kind


# --- Payloads, telemetry.md ---------------------------------------------------------------------------------------


def senml(name, unit, start, values):
    """One reading a second. Decimal travels as a decimal fraction (tag 4), so 21.53 stays 21.53."""
    first = {-2: name, -3: start, -4: unit, 2: values[0]}
    return encode([first] + [{2: value, 6: i} for i, value in enumerate(values) if i > 0])


def columns(name, unit, start, values):
    """The same as a column of 32-bit differences from the first value (tag 74: sint32, big-endian)."""
    profile, metric = name.split("/", 1)
    exponent = min(value.as_tuple().exponent for value in values)
    mantissas = [int(value.scaleb(-exponent)) for value in values]
    deltas = struct.pack(f">{len(values)}i", *(mantissa - mantissas[0] for mantissa in mantissas))
    column = [metric, unit, exponent, mantissas[0], cbor2.CBORTag(74, deltas)]
    return encode([[profile, start, [1, len(values)], [column]]])


# --- The session, topics.md and settlement.md ---------------------------------------------------------------------


class Session:
    """One MQTT connection. Everything runs in `until`, on one thread."""

    def __init__(self, folder, device, network, nonce):
        self.folder, self.network, self.me = folder, network, device_id(public_of(device))
        self.ready, self.entry, self.receipts, self.holes = False, None, 0, []
        claims = {1: f"did:key:{self.me}", 3: network.name, 10: nonce}
        password = b64(sign(device, [network.name, "login"], encode(claims), CWT))
        self.client = mqtt.Client(self.me, clean_session=True, protocol=mqtt.MQTTv311)
        self.client.username_pw_set(self.me, password)
        self.client.on_connect = self.connected
        self.client.on_subscribe = lambda *_: setattr(self, "ready", True)
        self.client.on_message = lambda _client, _data, message: self.received(message)
        self.client.connect(network.mqtt.hostname, network.mqtt.port)
        self.until(lambda: self.ready, "login")

    def topic(self, kind, network=None):
        return f"fp/1/{network or self.network.name}/d/{self.me}/{kind}"

    def connected(self, _client, _data, _flags, code):
        if code != 0:
            raise Refused(f"login: CONNACK {code}: {mqtt.connack_string(code)}")
        self.client.subscribe([(self.topic("receipt"), 1), (self.topic("reject"), 1)])

    def until(self, condition, what, seconds=15):
        deadline = time.monotonic() + seconds
        while not condition():
            if self.client.loop(0.1) != mqtt.MQTT_ERR_SUCCESS or time.monotonic() > deadline:
                raise Refused(f"{what}: connection lost, or no answer within {seconds} s")

    def publish(self, topic, message):
        sent = self.client.publish(topic, message, qos=1)
        self.until(sent.is_published, "PUBACK")
        return hashlib.sha256(message).digest()

    def received(self, message):
        """Down messages count only when the log's key signed them, for this device and this kind."""
        kind = message.topic.rsplit("/", 1)[1]
        try:
            _, payload = verify(message.payload, self.network.keys["log"], [self.network.name, kind, self.me])
            {"receipt": self.on_receipt, "reject": self.on_reject}[kind](decode(payload))
        except Refused as error:
            print(f"ignored a {kind}: {error}", flush=True)

    def on_receipt(self, receipt):
        if receipt["checkpoint"] is not None:
            size, root = check_checkpoint(receipt["checkpoint"], self.network.descriptor["origins"]["evidence"], self.network.keys["log"])
            save(self.folder / "head", encode([size, root]))
        for path in sorted((self.folder / "outbox").glob("*-*")):
            settled, code = verdict(receipt, *place(path)[:3])
            if code is not None:
                self.park(path, code)
            elif settled:
                path.unlink()
                print(f"settled boot={place(path)[0]} seq={place(path)[2]} kind={place(path)[3]}", flush=True)
        self.receipts, self.entry = self.receipts + 1, receipt["entry"]

    def on_reject(self, reject):
        permanent = "permanent" if reject["permanent"] else "transient"
        print(f"rejected seq={reject['seq']} code={reject['code']} {permanent}: {reject['remedy']}", flush=True)
        for path in (self.folder / "outbox").glob("*-*"):
            if reject["permanent"] and hashlib.sha256(path.read_bytes()).digest() == reject["digest"]:
                self.park(path, reject["code"])
                if reject["seq"] is None:  # refused before the signature check, so it settles nothing (1.4): a gap
                    self.holes.append(place(path))

    def park(self, path, code):
        parked = self.folder / "parked"
        parked.mkdir(exist_ok=True)
        os.replace(path, parked / path.name)
        for oldest in sorted(parked.glob("*-*"))[:-256]:
            oldest.unlink()
        print(f"parked boot={place(path)[0]} seq={place(path)[2]} kind={place(path)[3]} code={code}", flush=True)


def verdict(receipt, counter, seed, seq):
    """(settled, code of the rejection or None) of one envelope, settlement.md 3.2 and 3.3."""
    for boot_counter, boot_seed, through, ranges, rejected in receipt["boots"]:
        if (boot_counter, boot_seed) == (counter, seed):
            code = next((code for rejected_seq, code in rejected if rejected_seq == seq), None)
            return seq <= through or any(low <= seq <= high for low, high in ranges), code
    counters = [boot[0] for boot in receipt["boots"]]
    return len(counters) >= 32 and counter < min(counters), None


# --- The program --------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description="A Fieldproof device: one birth, one SenML batch, one columns batch.")
    parser.add_argument("--join", required=True, metavar="LINE", help="join line, fieldproof://…&plain=1")
    parser.add_argument("--data", type=pathlib.Path, default="python-device-data", help="folder of keys and outbox")
    parser.add_argument("--metric", default="air/temp", help="<profile>/<metric>")
    parser.add_argument("--unit", default="Cel", help="SenML unit")
    parser.add_argument("--value", type=Decimal, nargs="+", default=[Decimal("21.53")], help="a second apart, newest last")
    parser.add_argument("--unsynced", action="store_true", help="claim no clock: relative times")
    parser.add_argument("--resend", action="store_true", help="send the settled SenML batch once more")
    parser.add_argument("--alter", action="store_true", help="first send the SenML batch with one bit of its payload changed")
    parser.add_argument("--kind", default="telemetry", help="send the SenML batch to the topic of this kind")
    parser.add_argument("--wrong-network", action="store_true", help="send the SenML batch to another network's topic")
    parser.add_argument("--future", action="store_true", help="date the SenML batch an hour ahead")
    args = parser.parse_args()

    network = Network(args.join)
    device, owner = load_key(args.data / "device.key"), load_key(args.data / "owner.key")
    if not (args.data / "credential").exists():
        save(args.data / "credential", network.enrol(device, owner, "python-example", AGENT))
        print("enrolled", flush=True)
    nonce, bound_ms = network.hello()
    boot = Boot(args.data, device, network.name, None if args.unsynced else bound_ms)
    session = Session(args.data, device, network, nonce)
    print(f"online device={session.me} boot={boot.counter}", flush=True)

    # The birth is the first envelope of a session; then whatever an earlier run could not get settled.
    outbox, parked = args.data / "outbox", args.data / "parked"
    profile, metric = args.metric.split("/", 1)
    birth = {
        "nonce": nonce,
        "agent": AGENT,
        "source": "simulated",
        "profiles": {profile: [{"metric": name, "unit": args.unit} for name in (metric, metric + ".columns")]},
        "capabilities": {"formats": [SENML, COLUMNS]},
        "rejectsSeen": [list(place(path)[:3]) for path in sorted(parked.glob("*-*"))],
        "head": decode((args.data / "head").read_bytes()) if (args.data / "head").exists() else None,
    }
    backlog = sorted(outbox.glob("*-*"))
    for path in [boot.seal("birth", encode(birth))] + backlog:
        session.publish(session.topic(place(path)[3]), path.read_bytes())

    # Times: Unix seconds with a clock bound, seconds before sealing without one (telemetry.md 1.3, 1.4).
    count = len(args.value)
    start = 1 - count if args.unsynced else int(time.time()) + 1 - count + (3600 if args.future else 0)
    batch = boot.seal("telemetry", senml(args.metric, args.unit, start, args.value), SENML)
    message = batch.read_bytes()
    if args.alter:  # the last byte of the payload lies before the signature's head (2 bytes) and 64 bytes
        session.publish(session.topic("telemetry"), message[:-67] + bytes([message[-67] ^ 1]) + message[-66:])
    session.publish(session.topic(args.kind, "elsewhere" if args.wrong_network else None), message)
    start = start - 3600 if args.future else start
    path = boot.seal("telemetry", columns(args.metric + ".columns", args.unit, start, args.value), COLUMNS)
    session.publish(session.topic("telemetry"), path.read_bytes())
    session.until(lambda: not any(outbox.glob("*-*")), "receipt")
    if session.holes:
        gaps = [[*hole[:3], hole[2], "refused"] for hole in session.holes]
        session.publish(session.topic("gap"), boot.seal("gap", encode({"gaps": gaps})).read_bytes())
        session.until(lambda: not any(outbox.glob("*-*")), "receipt")

    if args.resend:
        receipts, entry = session.receipts, session.entry
        session.publish(session.topic("telemetry"), message)
        session.until(lambda: session.receipts > receipts, "receipt")
        print("duplicate: nothing new recorded" if session.entry == entry else "recorded again", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Refused as error:
        sys.exit(f"refused: {error}")
