"""Check a release of Kith without Kith: with Python's standard library, Ed25519 from `cryptography`, and one formula.

    python verify_alone.py RELEASE [--root KEY ...]

KEY is a root key (hex or base64) that you got by another way; give as many as must sign. Without one a release only
proves to be of one piece. `check` has nine steps, and the first that does not hold ends it. Left to `kith verify` are
tensors, measures, audits; a second accountant, other figures than epsilon and other writings, sampling; cosigners; who
decided a budget, for what and whom; whether ledgers and keys go on. A signature shows who claims what, not the noise.
"""

import base64
import hashlib
import json
import math
import sys
from contextlib import suppress
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIXED = {"certificate.dsse.json", "plan.json", "card.json", "model.safetensors", "keys.json"}
NOISE = {"discrete-gaussian-on-grid": "os", "float64-gaussian-on-grid": "os-float64"}
TYPES = ["application/vnd.in-toto+json", "https://in-toto.io/Statement/v1"]
unbase64 = partial(base64.b64decode, validate=True)


def check(files: dict, *given: bytes) -> str:
    """The argument over a release's files by name, and root keys. Returns what it shows; ValueError names the step."""
    # 1. The files are exactly those of a release of so many sites.
    count = sum(name.startswith("receipts/") for name in files)
    expected = FIXED | {name for n in range(count) for name in (f"receipts/{n}.jsonl", f"ledger/{n}.json")}
    need(count and expected == set(files) - {"audit.json", "measures.json"}, "1. files: not those of a release")
    # 2. Enough root keys signed the list of keys. It has no key twice, and one active key for a party.
    keys, _, encoded, signatures = statement(files["keys.json"], "key-list:v1")
    signers = [one for one in map(unbase64, keys["roots"]) if sha256(one) in signatures]
    need(all(holds(one, signatures[sha256(one)], encoded) for one in signers), "2. keys: a root's signature is wrong")
    need(len(signers) >= keys["threshold"] >= 1 and {*given} <= {*signers}, "2. keys: too few roots, or not yours")
    active = [(one["party"], unbase64(one["public"])) for one in keys["keys"] if one["status"] == "active"]
    every, key_of = [*map(unbase64, [*keys["roots"], *(one["public"] for one in keys["keys"])])], dict(active)
    need(len(set(every)) == len(every) and len(key_of) == len(active), "2. keys: a key or a party twice")
    ys, p = [int.from_bytes(key, "little") % 2**255 for key in every], 2**255 - 19  # none of order 1, 2, 4 or 8
    need(all(y < p and (y**3 - y) * (121665 * y**4 - 243332 * y * y + 121666) % p for y in ys), "2. keys: a weak key")
    # 3. The coordinator's key, alone, signed the certificate. 4. It covers every other file as it is.
    stated, digests, *_ = statement(files["certificate.dsse.json"], "privacy-certificate:v3", key_of["coordinator"])
    named = [sha256(key_of["coordinator"]), {"number": keys["number"], "sha256": sha256(files["keys.json"])}]
    need([stated["coordinator"], stated["keys"]] == named and stated["not_covered"], "3. certificate: by other keys")
    need(digests == {name: sha256(files[name]) for name in {*files} - {"certificate.dsse.json"}}, "4. digests: a file")
    # 5. The plan is the certificate's. Its price is mu², the sum of (sensitivity / noise)² over all releases.
    plan, ran, accounts = read(files["plan.json"]), stated["mechanism"], stated["accounts"]
    need(ran == {"plan": digests["plan.json"], **{of: plan[of] for of in ran if of != "plan"}}, "5. plan: another")
    sites, names = [one["name"] for one in plan["sites"]], [one["site"] for one in accounts]
    least, c, discrete = plan["replies_at_least"], plan["colluding"], plan["mechanism"].startswith("discrete")
    need(sites == sorted({*sites}) and len(names) == count and 0 < least <= len(sites), "5. plan: its sites")
    masked = discrete and 2 * least > len(sites) + c > len(sites) > 2  # else who asks could open more than one sum
    claims = ["secure-sum" if c and masked else "local" if c == 0 else "", "employee", "add-remove", stated["noise"]]
    need([plan["trust"], plan["unit"], plan["neighbours"], NOISE[plan["mechanism"]]] == claims, "5. plan: claims")
    price, releases, mu2, apart, shares = {}, [], Fraction(0), 0.0, least - c if c else 1  # of noise, in a secure sum
    for event in plan["events"]:
        name, times, noise, grid, size = (event[of] for of in ("name", "times", "noise", "grid", "coordinates"))
        clip = Fraction(plan["clip"]) * 2 ** min(grid, 60) if name == "gradient" else 1
        need(event["rate"] == "1" and name not in price, "5. plan: an event twice, or sampled: not for this program")
        part = math.isqrt((noise**2 - 1) // shares) + 1
        need(event["sensitivity"] >= clip > 0 < times <= 1000 and part >= 3 and size > 0, "5. plan: an event")
        once, tau = Fraction(event["sensitivity"], noise) ** 2, 10 * (shares - 1) * math.exp(-((math.pi * part) ** 2))
        price[name] = Fraction(Context(18, ROUND_CEILING).divide(*map(Decimal, once.as_integer_ratio())))  # as charged
        mu2 += times * once
        apart += times * size * discrete * (1 / (24 * noise**2) + tau)
        releases += [(name, index) for index in range(times)]
    # 6. At the stated epsilon, delta is what the formula gives and discrete noise adds; at a smaller one it is not.
    cost, mu, whole = stated["cost"], math.sqrt(mu2), sum(price[name] for name, _ in releases)
    epsilon, added, delta = (float(cost[name]) for name in ("epsilon", "discretization_delta", "delta"))
    need([cost["delta"], Fraction(cost["mu2"])] == [plan["delta"], whole], "6. epsilon: another delta or mu²")
    need(apart * (1 + math.exp(epsilon)) <= added <= delta / 999 < 0.001, "6. epsilon: discrete noise is left out")
    need(delta_of(epsilon, mu) + added <= delta * (1 + 1e-6), "6. epsilon: too small")
    need(not epsilon or delta_of(epsilon - 3e-6, mu) + added > delta, "6. epsilon: too large")
    # 7. Each site signed one receipt for each release, of this run and plan, or is called absent. Enough were there.
    away = {(releases.index((one["event"], one["index"])), one["site"]): one["reason"] for one in stated["absences"]}
    need([*away] == sorted(away) and {*away.values()} <= {"silent", "failed", "refused", "garbage"}, "7. absences")
    here = {site: [one for n, one in enumerate(releases) if (n, site) not in away] for site in sites}
    known = sum(map(len, here.values())) + len(stated["absences"]) == len(sites) * len(releases)
    need(known and names == [site for site in sites if here[site]], "7. accounts: not of the sites that were there")
    need(all(len(sites) - [at for at, _ in away].count(n) >= least for n in range(len(releases))), "7. too few sites")
    states = {release: sha256(b"") for release in releases if release[0] == "second-moments"}
    for n, account in enumerate(accounts):
        site, lines = account["site"], files[f"receipts/{n}.jsonl"].split(b"\n")
        key, facts = key_of[f"site/{site}"], [NOISE[plan["mechanism"]], site, stated["run"], ran["plan"]]
        need(account["keyid"] == sha256(key) and lines.pop() == b"", f"7. {site}: another key, or cut off")
        receipts = [statement(line, "receipt:v1", key)[0] for line in lines]
        need([(one["event"], one["index"]) for one in receipts] == here[site], f"7. {site}: not one for each release")
        need(all([one[of] for of in ("noise", "site", "run", "plan")] == facts for one in receipts), f"7. {site}: run")
        # 8. The site signed its ledger's head. Under it are the budget, and every charge with its receipt, if any.
        shown, size, head = read(files[f"ledger/{n}.json"]), account["size"], bytes.fromhex(account["root"])
        (origin, *body), notes = (part.split("\n") for part in shown["checkpoint"].split("\n\n"))
        need([*body, shown["size"]] == [str(size), base64.b64encode(head).decode(), size], f"8. {site}: another head")
        marks = [unbase64(line.split(" ")[2])[4:] for line in notes if line.startswith(f"\N{EM DASH} {origin} ")]
        need(any(holds(key, mark, "\n".join([origin, *body, ""]).encode()) for mark in marks), f"8. {site}: not signed")
        entries = [included(one, size, head) for one in (shown["open"], shown["reserve"], *shown["charges"])]
        places, (opened, reserved, *charges) = [one["position"] for one in entries], entries
        need(places[0] == 0 and places == sorted(set(places)), f"8. {site}: entries out of order")
        need([opened[of] for of in ("kind", "site", "origin")] == ["open", site, origin], f"8. {site}: another's log")
        decision = shown["budget"] and unbase64(included(shown["budget"], size, head)["decision"])
        budget = statement(decision, "budget-decision:v1")[0] if decision else opened["budget"]
        same = all(budget[of] == account[of] for of in ("period", "label", "cap"))
        need(same and budget["number"] == reserved["budget"] == account["budget"], f"8. {site}: under another budget")
        tries, last = dict.fromkeys(releases, 0), {(one["event"], one["index"]): one for one in charges}
        for release, one in (((one["event"], one["index"]), one) for one in charges):
            told = ["charge", *facts[2:], tries[release], states.setdefault(release, one["state"])]
            need([one[of] for of in ("kind", "run", "plan", "attempt", "state")] == told, f"8. {site}: another charge")
            need(Fraction(one["mu2"]) == price[release[0]], f"8. {site}: at another price")
            tries[release] += 1
        same = all(one | last[of] == last[of] | one for of, one in zip(here[site], receipts, strict=True))  # in common
        need(same and [reserved["run"], reserved["plan"]] == facts[2:], f"8. {site}: not for these receipts")
        # 9. Every charge raises the totals. The account has the last ones, and the same without the run's charges.
        charged, cap = sum(Fraction(one["mu2"]) for one in charges), Fraction(budget["cap"])
        for total, of in (("spent", "total"), ("group_spent", "group"), ("lifetime", None)):
            place, after = 0, Fraction(0)
            for one in charges:
                others = Fraction(one[total]) - after - Fraction(one["mu2"])  # charged since the last one shown
                need(others == 0 or (others > 0 and one["position"] > place + 1), f"9. {site}: a total does not rise")
                place, after = one["position"], Fraction(one[total])
            need(Fraction(account[f"{of}_after" if of else total]) == after, f"9. {site}: {total} is not the account's")
            need(not of or cap >= charged == after - Fraction(account[f"{of}_before"]) <= after, f"9. {site}: before")
        for total, worst in (("total_before", "worst_before"), ("total_after", "worst_after")):
            need(Fraction(account[worst]) == min(cap, Fraction(account[total])), f"9. {site}: not the worst-off's")
    return f"epsilon {cost['epsilon']} at delta {cost['delta']}, mu² {cost['mu2']}, {count} sites"


def need(true: object, why: str) -> None:
    """Go on if it is true."""
    if not true:
        raise ValueError(why)


def sha256(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def holds(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether an Ed25519 signature holds."""
    with suppress(InvalidSignature):
        return Ed25519PublicKey.from_public_bytes(public).verify(signature, data) is None
    return False


def read(data: bytes) -> dict:
    """JSON in its one canonical writing (RFC 8785): no key twice, no fraction, nothing that reads in two ways."""
    value = json.loads(data[: 2**26], parse_float=str, parse_constant=str)  # a fraction is then not written as it was
    written = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    need(written.encode() == data, "JSON: too large, or not in the one canonical writing")
    return value


def statement(data: bytes, kind: str, public: bytes | None = None) -> tuple[dict, dict, bytes, dict]:
    """A statement: (predicate, digests of subjects, bytes signed, signatures); signed by this key alone, if given."""
    envelope = read(data)
    payload = unbase64(envelope["payload"])
    content, encoded = read(payload), f"DSSEv1 {len(TYPES[0])} {TYPES[0]} {len(payload)} ".encode() + payload
    signatures = {one["keyid"]: unbase64(one["sig"]) for one in envelope["signatures"]}
    digests = {one["name"]: one["digest"]["sha256"] for one in content["subject"]}
    types = [envelope["payloadType"], content["_type"], content["predicateType"]]
    need(types == [*TYPES, f"urn:kith:{kind}"], f"{kind}: another kind of statement")
    need([len(signatures), len(digests)] == [len(envelope["signatures"]), len(content["subject"])], f"{kind}: twice")
    signed = list(signatures) == [sha256(public or b"")] and holds(public, *signatures.values(), encoded)
    need(public is None or signed, f"{kind}: not signed by exactly the key expected")
    return content["predicate"], digests, encoded, signatures


def included(shown: dict, size: int, root: bytes) -> dict:
    """A ledger's entry, its position and leaf hash, once its proof leads to the root (RFC 9162 section 2.1.3.2)."""
    entry, first, last = unbase64(shown["leaf"]), shown["index"], size - 1
    leaf = result = hashlib.sha256(b"\0" + entry).digest()
    for sibling in map(unbase64, shown["proof"]):
        right = first & 1 or first == last
        result = hashlib.sha256(b"\1" + (sibling + result if right else result + sibling)).digest()
        while right and first and not first & 1:
            first, last = first >> 1, last >> 1
        first, last = first >> 1, last >> 1
    need(0 <= shown["index"] < size and not last and result == root, f"8. ledger: entry {shown['index']} is not in it")
    return {**read(entry), "position": shown["index"], "leaf": leaf.hex()}


def delta_of(epsilon: float, mu: float) -> float:
    """Delta of a mu-GDP mechanism at epsilon (Dong, Roth & Su 2022, Cor. 2.13)."""
    upper, lower = (math.erfc((epsilon / mu + sign * mu / 2) / math.sqrt(2)) / 2 for sign in (-1, 1))
    return upper - math.exp(epsilon) * lower


if __name__ == "__main__":
    try:
        roots = [bytes.fromhex(key) if len(key) == 64 else unbase64(key) for key in sys.argv[2:] if key != "--root"]
        paths = [path for path in Path(sys.argv[1]).rglob("*") if path.is_file()]
        print("accepted:", check({str(one.relative_to(sys.argv[1])): one.read_bytes() for one in paths}, *roots))
    except Exception as error:
        sys.exit(f"refused: {ascii(str(error) or type(error).__name__)[1:-1]}")
