"""Forged key lists: whose keys a release brings."""

from __future__ import annotations

from dataclasses import replace

from privacy import dsse, key_list
from privacy.trust_roots import PinnedKeys
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.forgeries.scene import (
    KEYS,
    Scene,
    b64,
    listed,
    refused_by,
    under,
)
from tests.privacy.forging import (
    Files,
    Shown,
    payload_of,
    replaced,
)
from tests.privacy.small_release import (
    NOW,
    ROOT,
)


@refused_by(2)
def keys_signed_by_another_root__by_coordinator(scene: Scene) -> Files:
    other = FixedSigner(99)
    return under(scene, key_list.sign_key_list(replace(listed(scene), roots=(b64(other),)), other))


@refused_by(2)
def keys_signed_by_nobody_s_root__by_coordinator(scene: Scene) -> Files:
    return under(scene, key_list.sign_key_list(listed(scene), scene.group.coordinator))


@refused_by(2)
def keys_of_another_group__by_coordinator(scene: Scene) -> Files:
    return under(scene, key_list.sign_key_list(replace(listed(scene), group="Other group"), ROOT))


@refused_by(2)
def keys_with_one_site_s_key_replaced(scene: Scene) -> Files:
    old, new = (b64(one) for one in (scene.group.sites[0].signer, FixedSigner(77)))
    envelope = dsse.Envelope.from_bytes(scene.files[KEYS])
    forged = replace(envelope, payload=replaced(envelope.payload, old, new))
    return {**scene.files, KEYS: forged.to_bytes()}


@refused_by(2)
def keys_with_a_second_signature_of_the_root(scene: Scene) -> Files:
    envelope = dsse.Envelope.from_bytes(scene.files[KEYS])
    return {**scene.files, KEYS: replace(envelope, signatures=envelope.signatures * 2).to_bytes()}


@refused_by(2)
def keys_without_a_signature(scene: Scene) -> Files:
    return {**scene.files, KEYS: replace(dsse.Envelope.from_bytes(scene.files[KEYS]), signatures=()).to_bytes()}


@refused_by(2)
def keys_with_a_byte_order_mark__by_coordinator(scene: Scene) -> Files:
    return under(scene, b"\xef\xbb\xbf" + scene.files[KEYS])


@refused_by(2)
def keys_with_a_line_end__by_coordinator(scene: Scene) -> Files:
    return under(scene, scene.files[KEYS] + b"\r\n")


@refused_by(2)
def keys_where_two_parties_share_one__by_coordinator_and_root(scene: Scene) -> Files:
    first, second = (b64(site.signer) for site in scene.group.sites)
    payload = replaced(payload_of(scene.files[KEYS]), first, second)
    return under(scene, dsse.sign(payload, ROOT).to_bytes())


@refused_by(2)
def keys_where_a_site_s_name_has_a_cyrillic_letter__by_coordinator_and_root(scene: Scene) -> Files:
    payload = replaced(payload_of(scene.files[KEYS]), "site/North", "site/N\N{CYRILLIC SMALL LETTER O}rth")
    return under(scene, dsse.sign(payload, ROOT).to_bytes())


@refused_by(2)
def keys_rolled_back_to_before_the_coordinator_s_key_was_revoked__by_coordinator(scene: Scene) -> Shown:
    return Shown(scene.files, revoking(scene, scene.group.coordinator.keyid))


@refused_by(2)
def keys_rolled_back_to_before_a_site_s_key_was_revoked__by_coordinator(scene: Scene) -> Shown:
    return Shown(scene.files, revoking(scene, scene.group.sites[1].signer.keyid))


@refused_by(2)
def keys_forked_under_the_same_number__by_coordinator_and_root(scene: Scene) -> Shown:
    forked = key_list.sign_key_list(replace(listed(scene), issued_at=NOW + 1), ROOT)
    return Shown(under(scene, forked), PinnedKeys.from_bytes(scene.files[KEYS], "pinned"))


@refused_by(2)
def keys_with_the_roots_of_a_stranger__by_everyone_else(scene: Scene) -> Shown:
    return Shown(scene.files, replace(scene.group.pinned, roots=(b64(FixedSigner(99)),)))


def revoking(scene: Scene, keyid: str) -> PinnedKeys:
    """What an officer pins who has the list after the one of the release."""
    newer = key_list.revoked(listed(scene), keyid, NOW)
    return PinnedKeys.from_bytes(key_list.sign_key_list(newer, ROOT), "pinned")
