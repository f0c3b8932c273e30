"""How a device joins: join line, descriptor, hello, enrolment. docs/spec/identity.md sections 2 to 5."""

import secrets, time, urllib.error, urllib.parse, urllib.request

from cose import Refused, b64, decode, device_id, encode, key_of_device_id, public_of, sign, unb64, verify


class Network:
    """A network as its join line and its verified descriptor tell it."""

    def __init__(self, join_line):
        self.http, self.name, self.root, self.token = parse_join(join_line)
        _, payload = verify(self.get("/v1/descriptor"), self.root, [self.name, "descriptor"])
        self.descriptor = decode(payload)
        if self.descriptor["network"] != self.name:
            raise Refused(f"descriptor: expected network {self.name}, got {self.descriptor['network']}")
        self.keys = self.descriptor["keys"]
        self.mqtt = urllib.parse.urlsplit(next(u for u in self.descriptor["addresses"]["mqtt"] if u[:7] == "mqtt://"))

    def get(self, path, body=None):
        request = urllib.request.Request(self.http + path, body, {"Content-Type": 'application/cose; cose-type="cose-sign1"'})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.read(1 << 20)
        except urllib.error.HTTPError as error:
            raise Refused(f"{path}: {error.code} {error.read(2000).decode()}") from error

    def hello(self):
        """A server nonce, and how far this machine's clock may be from the broker's, in ms."""
        nonce, before = secrets.token_bytes(16), time.time() * 1000
        message = self.get(f"/v1/hello?nonce={b64(nonce)}")
        after = time.time() * 1000
        claims = decode(verify(message, self.keys["registry"], [self.name, "hello"])[1])
        if claims["clientNonce"] != nonce or claims["network"] != self.name:
            raise Refused("hello: not an answer to this request")
        return claims["nonce"], int(max(abs(claims["time"] - before), abs(after - claims["time"]))) + 1

    def enrol(self, device, owner, name, agent):
        me = device_id(public_of(device))
        request = {
            "nonce": self.hello()[0],
            "token": self.token,
            "key": public_of(device),
            "owner": "did:key:" + device_id(public_of(owner)),
            "ownership": sign(owner, [self.name, "ownership"], encode({"device": me})),
            "name": name,
            "agent": agent,
        }
        answer = decode(self.get("/v1/enrol", sign(device, [self.name, "enrol"], encode(request))))
        _, payload = verify(answer["credential"], self.keys["registry"], [self.name, "credential", me])
        if decode(payload)["key"] != public_of(device):
            raise Refused("credential: for another key")
        return answer["credential"]


def parse_join(line):
    """fieldproof://host:port/network?root=…&token=…&plain=1 -> (HTTP address, network, root key, token)."""
    url = urllib.parse.urlsplit(line)
    query = {name: values[0] for name, values in urllib.parse.parse_qs(url.query).items()}
    if url.scheme != "fieldproof" or query.get("plain") != "1" or url.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise Refused("join line: expected fieldproof://<loopback>/…&plain=1; this example has no TLS")
    return f"http://{url.netloc}", url.path[1:], key_of_device_id(query["root"]), unb64(query["token"])
