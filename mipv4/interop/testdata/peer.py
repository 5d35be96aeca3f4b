"""The far end of scapy_test.go: scapy's Mobile IP layer builds and reads messages, hashlib and hmac compute authenticators.

One JSON object a line comes in, and one goes out for each. Octets are written in hexadecimal."""

import hashlib
import hmac
import json
import logging
import sys

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.layers.inet import IP, UDP  # noqa: E402
from scapy.layers.l2 import GRE  # noqa: E402
from scapy.layers.mobileip import (  # noqa: E402
    MobileIP, MobileIPRRP, MobileIPRRQ, MobileIPTunnelData)
from scapy.packet import Raw  # noqa: E402

LAYERS = {1: MobileIPRRQ, 3: MobileIPRRP}
AUTHENTICATION = (32, 33, 34)


def authenticator(algorithm, key, data):
    if algorithm == "keyed-md5":  # RFC 2002 section 3.5.1: prefix+suffix
        return hashlib.md5(key + data + key).digest()
    return hmac.new(key, data, algorithm.removeprefix("hmac-")).digest()


def build(command):
    """Returns the UDP payload: the message with these fields, and its extensions."""
    message = bytes(MobileIP(type=command["type"]) / LAYERS[command["type"]](**command["fields"]))
    for e in command.get("extensions") or []:
        if "key" not in e:
            data = bytes.fromhex(e["data"])
            message += bytes([e["type"], len(data)]) + data
            continue
        key = bytes.fromhex(e["key"])
        length = len(authenticator(e["algorithm"], key, b""))
        message += bytes([e["type"], 4 + length]) + e["spi"].to_bytes(4, "big")
        message += authenticator(e["algorithm"], key, message)
    return {"octets": message.hex()}


def read(command):
    """Reads a UDP payload as scapy finds it in a datagram, and checks its authenticators with the key."""
    payload = bytes.fromhex(command["octets"])
    datagram = UDP(bytes(UDP(sport=command["sport"], dport=command["dport"]) / Raw(payload)))
    head = datagram[MobileIP]
    body = head.payload
    out = {"layer": body.name, "type": head.type, "fields": {f.name: body.getfieldval(f.name) for f in body.fields_desc}}
    out["extensions"] = []
    rest = bytes(body.payload)
    while rest:
        at = len(payload) - len(rest)
        if rest[0] == 0:  # one-byte padding
            rest = rest[1:]
            continue
        data = rest[2:2 + rest[1]]
        e = {"type": rest[0], "data": data.hex()}
        if rest[0] in AUTHENTICATION and "key" in command:
            e["spi"] = int.from_bytes(data[:4], "big")
            want = authenticator(command["algorithm"], bytes.fromhex(command["key"]), payload[:at + 6])
            e["authentic"] = hmac.compare_digest(want, data[4:])
        out["extensions"].append(e)
        rest = rest[2 + rest[1]:]
    return out


def packet(command):
    """Returns an IPv4 packet: UDP with some payload, in the tunnel that is asked for."""
    inner = IP(src=command["src"], dst=command["dst"], ttl=command["ttl"]) / UDP(sport=5000, dport=6000) / Raw(b"inner")
    outer = {
        "": lambda: inner,
        "ipip": lambda: IP(src=command["osrc"], dst=command["odst"]) / inner,
        "udp": lambda: (IP(src=command["osrc"], dst=command["odst"]) / UDP(sport=command.get("sport", 434), dport=434)
                        / MobileIP(type=4) / MobileIPTunnelData(nexthdr=4) / inner),
        "gre": lambda: IP(src=command["osrc"], dst=command["odst"]) / GRE(
            proto=0x0800, chksum_present=command["checksum"], key_present=command["keyed"], key=command["key"]) / inner,
    }[command["tunnel"]]()
    return {"octets": bytes(outer).hex()}


def dissect(command):
    """Reads an IPv4 packet: the layers that scapy sees in it, and the addresses of the innermost IPv4 header."""
    p = IP(bytes.fromhex(command["octets"]))
    layers, inner, at, gre = [], p, p, None
    while at and not isinstance(at, Raw):
        layers.append(type(at).__name__)
        if isinstance(at, IP):
            inner = at
        if isinstance(at, GRE):
            gre = {"key": at.key if at.key_present else None, "checksum": at.chksum_present and at.chksum == rebuilt(GRE, at).chksum}
        at = at.payload
    return {"layers": layers, "src": inner.src, "dst": inner.dst, "ttl": inner.ttl, "chksum": inner.chksum == rebuilt(IP, inner).chksum,
            "gre": gre}


def rebuilt(layer, p):
    """Returns the packet with scapy's own checksum."""
    fresh = layer(bytes(p))
    fresh.chksum = None
    return layer(bytes(fresh))


COMMANDS = {"build": build, "read": read, "packet": packet, "dissect": dissect}

for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(COMMANDS[asked["do"]](asked)), flush=True)
