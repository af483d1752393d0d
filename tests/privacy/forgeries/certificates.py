"""Forged certificates: whose signature is under it, and in which writing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from privacy import canonical, dsse, key_list, release_files
from privacy.certificate import KeysUsed
from privacy.party_names import COORDINATOR
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.forgeries.scene import (
    CERTIFICATE,
    KEYS,
    Scene,
    listed,
    refused_by,
    under,
)
from tests.privacy.forging import (
    Files,
    Shown,
    certificate_of,
    payload_of,
    replaced,
)
from tests.privacy.small_release import (
    NOW,
    ROOT,
    SITES,
)


@refused_by(3)
def certificate_by_a_stranger(scene: Scene) -> Files:
    payload = payload_of(scene.files[CERTIFICATE])
    return {**scene.files, CERTIFICATE: dsse.sign(payload, FixedSigner(77)).to_bytes()}


@refused_by(3)
def certificate_by_a_site(scene: Scene) -> Files:
    payload = payload_of(scene.files[CERTIFICATE])
    return {**scene.files, CERTIFICATE: dsse.sign(payload, scene.group.sites[0].signer).to_bytes()}


@refused_by(3)
def certificate_by_a_root(scene: Scene) -> Files:
    return {**scene.files, CERTIFICATE: dsse.sign(payload_of(scene.files[CERTIFICATE]), ROOT).to_bytes()}


@refused_by(3)
def certificate_by_a_retired_key_of_the_coordinator(scene: Scene) -> Shown:
    newer = key_list.rotated(listed(scene), COORDINATOR, FixedSigner(55).public, NOW)
    data = key_list.sign_key_list(newer, ROOT)
    return Shown(under(scene, data, newer.number), scene.group.pinned)


@refused_by(3)
def certificate_with_a_second_signature(scene: Scene) -> Files:
    payload = payload_of(scene.files[CERTIFICATE])
    return {**scene.files, CERTIFICATE: dsse.sign(payload, scene.group.coordinator, FixedSigner(77)).to_bytes()}


@refused_by(3)
def certificate_without_a_signature(scene: Scene) -> Files:
    return {**scene.files, CERTIFICATE: dsse.sign(payload_of(scene.files[CERTIFICATE])).to_bytes()}


@refused_by(3)
def certificate_with_the_signature_of_the_earlier_one(scene: Scene) -> Files:
    old, new = (dsse.Envelope.from_bytes(files[CERTIFICATE]) for files in (scene.earlier, scene.files))
    return {**scene.files, CERTIFICATE: replace(new, signatures=old.signatures).to_bytes()}


@refused_by(3)
def certificate_that_names_another_coordinator__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one["predicate"].update(coordinator=FixedSigner(77).keyid))


@refused_by(3)
def certificate_that_names_an_earlier_key_list__by_coordinator(scene: Scene) -> Files:
    return scene.certified(keys=KeysUsed(7, release_files.sha256(scene.files[KEYS])))


@refused_by(3)
def certificate_that_names_other_bytes_of_the_key_list__by_coordinator(scene: Scene) -> Files:
    return scene.certified(keys=KeysUsed(0, "0" * 64))


@refused_by(3)
def predicate_version_2__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one.update(predicateType="urn:kith:privacy-certificate:v2"))


@refused_by(3)
def predicate_of_a_receipt__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one.update(predicateType="urn:kith:receipt:v1"))


@refused_by(3)
def statement_of_another_version__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one.update(_type="https://in-toto.io/Statement/v0.1"))


@refused_by(3)
def another_payload_type__by_coordinator(scene: Scene) -> Files:
    payload = payload_of(scene.files[CERTIFICATE])
    envelope = dsse.sign(payload, scene.group.coordinator, payload_type="application/json")
    return {**scene.files, CERTIFICATE: envelope.to_bytes()}


@refused_by(3)
def payload_type_relabelled(scene: Scene) -> Files:
    payload = payload_of(scene.files[CERTIFICATE])
    envelope = dsse.sign(payload, scene.group.coordinator, payload_type="application/json")
    return {**scene.files, CERTIFICATE: replace(envelope, payload_type=dsse.PAYLOAD_TYPE).to_bytes()}


@refused_by(3)
def not_covered_emptied__by_coordinator(scene: Scene) -> Files:
    return scene.certified(not_covered=())


@refused_by(3)
def a_field_left_out__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one["predicate"].pop("not_covered"))


@refused_by(3)
def a_field_added__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one["predicate"].update(waiver="granted"))


@refused_by(3)
def a_subject_twice__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one["subject"].append(one["subject"][0]))


@refused_by(3)
def a_subject_with_a_weak_digest__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one["subject"][0].update(digest={"sha1": "0" * 40}))


@refused_by(3)
def no_environment__by_coordinator(scene: Scene) -> Files:
    return scene.certified(environment={})


@refused_by(3)
def a_malformed_image__by_coordinator(scene: Scene) -> Files:
    return scene.certified(image="latest")


@refused_by(3)
def a_witness_named_twice__by_coordinator(scene: Scene) -> Files:
    return scene.accounted(witnesses=(SITES[1], SITES[1]))


def writing(name: str, old: str, new: str) -> None:
    """The certificate's payload in another writing, which the coordinator signed: `old` stands in it once or more."""

    def forgery(scene: Scene) -> Files:
        return scene.payload(lambda payload: replaced(payload, old, new))

    forgery.__name__ = f"written_{name}__by_coordinator"
    refused_by(3)(forgery)


AT = f'"issued_at":{NOW}'
writing("with_a_fraction", AT, f'"issued_at":{NOW}.0')
writing("with_an_exponent", AT, '"issued_at":1e0')
writing("with_a_leading_zero", AT, '"issued_at":01')
writing("with_a_plus", AT, '"issued_at":+1')
writing("with_minus_zero", AT, '"issued_at":-0')
writing("with_a_negative_number", AT, '"issued_at":-1')
writing("with_2_to_the_53", AT, f'"issued_at":{2**53}')
writing("with_10_to_the_400", AT, f'"issued_at":{10**400}')
writing("with_more_digits_than_python_reads", AT, f'"issued_at":{"9" * 5_000}')
writing("with_nan", AT, '"issued_at":NaN')
writing("with_infinity", AT, '"issued_at":-Infinity')
writing("with_true_for_a_number", AT, '"issued_at":true')
writing("with_a_string_for_a_number", AT, f'"issued_at":"{NOW}"')
writing("with_a_key_twice", AT, f'{AT},"issued_at":1')
writing("with_a_key_twice_in_another_escape", AT, f'{AT},"issued\\u005fat":1')
writing("with_a_space", AT, f'"issued_at": {NOW}')
writing("with_deep_nesting", '"tuning":"', f'"tuning":{"[" * 100}{"]" * 100},"was":"')
writing("with_nesting_beyond_recursion", '"tuning":"', f'"tuning":{"[" * 100_000}{"]" * 100_000},"was":"')
writing("with_a_lone_surrogate", '"tuning":"none', '"tuning":"\\ud800none')
writing("with_an_escape_that_need_not_be", '"tuning":"none', '"tuning":"\\u006eone')
writing("with_capital_hexadecimal_digits", '"code":"', '"code":"A')
writing("with_a_comment", AT, f"{AT}/**/")


def figure(name: str, change: Callable[[str], str]) -> None:
    """Epsilon, or mu², in another writing of about the same number."""

    def forgery(scene: Scene) -> Files:
        return scene.costed(epsilon=change(certificate_of(scene.group, scene.files).cost.epsilon))

    forgery.__name__ = f"epsilon_{name}__by_coordinator"
    refused_by(3)(forgery)


figure("with_a_trailing_zero", lambda text: f"{text}0")
figure("with_a_leading_zero", lambda text: f"0{text}")
figure("with_a_plus", lambda text: f"+{text}")
figure("with_an_exponent", lambda text: f"{text}e0")
figure("with_a_space", lambda text: f"{text} ")
figure("with_a_line_end", lambda text: f"{text}\n")
figure("with_full_width_digits", lambda text: text.translate({ord("0") + n: 0xFF10 + n for n in range(10)}))
figure("with_an_underscore", lambda text: f"{text[:-1]}_{text[-1]}")
figure("with_a_comma", lambda text: text.replace(".", ","))
figure("negative", lambda text: f"-{text}")
figure("infinite", lambda text: "Infinity")
figure("not_a_number", lambda text: "NaN")


@refused_by(3)
def mu2_with_trailing_zeros__by_coordinator(scene: Scene) -> Files:
    return scene.costed(mu2=certificate_of(scene.group, scene.files).cost.mu2 + "0")


@refused_by(3)
def a_number_of_people_with_a_leading_zero__by_coordinator(scene: Scene) -> Files:
    return scene.statement(lambda one: one["predicate"]["cost"].update(leavers={"02": "1.000000"}))


@refused_by(3)
def a_cap_with_an_exponent__by_coordinator(scene: Scene) -> Files:
    return scene.accounted(cap="2E0")


@refused_by(3)
def payload_with_a_byte_order_mark__by_coordinator(scene: Scene) -> Files:
    return scene.payload(lambda payload: b"\xef\xbb\xbf" + payload)


@refused_by(3)
def payload_with_a_line_end__by_coordinator(scene: Scene) -> Files:
    return scene.payload(lambda payload: payload + b"\r\n")


@refused_by(3)
def payload_in_utf_16__by_coordinator(scene: Scene) -> Files:
    return scene.payload(lambda payload: payload.decode().encode("utf-16"))


@refused_by(3)
def payload_indented__by_coordinator(scene: Scene) -> Files:
    return scene.payload(lambda payload: json.dumps(json.loads(payload), indent=1).encode())


@refused_by(3)
def payload_with_its_keys_in_another_order__by_coordinator(scene: Scene) -> Files:
    def turned(payload: bytes) -> bytes:
        document = dict(reversed(json.loads(payload).items()))
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    return scene.payload(turned)


@refused_by(3)
def envelope_indented(scene: Scene) -> Files:
    return {**scene.files, CERTIFICATE: json.dumps(json.loads(scene.files[CERTIFICATE]), indent=1).encode()}


@refused_by(3)
def envelope_with_its_keys_in_another_order(scene: Scene) -> Files:
    document = dict(reversed(json.loads(scene.files[CERTIFICATE]).items()))
    return {**scene.files, CERTIFICATE: json.dumps(document, separators=(",", ":")).encode()}


@refused_by(3)
def envelope_with_a_line_end(scene: Scene) -> Files:
    return {**scene.files, CERTIFICATE: scene.files[CERTIFICATE] + b"\n"}


@refused_by(3)
def envelope_with_url_safe_base64(scene: Scene) -> Files:
    document = json.loads(scene.files[CERTIFICATE])
    document["signatures"][0]["sig"] = document["signatures"][0]["sig"].replace("+", "-").replace("/", "_") + "="
    return {**scene.files, CERTIFICATE: canonical.to_bytes(document)}


@refused_by(3)
def envelope_with_a_key_twice(scene: Scene) -> Files:
    return {**scene.files, CERTIFICATE: b'{"payload":"",' + scene.files[CERTIFICATE][1:]}
