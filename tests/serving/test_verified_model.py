"""No valid certificate, no serving: what is changed, missing, foreign or ambiguous is not loaded."""

import shutil

import pytest

from privacy import canonical, release_files
from privacy.errors import InputError, VerificationFailed
from serving.verified_model import load_all, load_verified
from tests.privacy import small_release
from tests.serving.signed_release import OTHER_SITE, SITE, SPACE, roots_of_another, write_release


@pytest.fixture
def copy(release, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(release, path)
    return path


def test_a_release_that_verifies_is_loaded_with_its_figures(release):
    model = load_verified(release)
    assert model.verdict.ok
    assert model.use_case == "retention"
    assert set(model.release.scorers) == {"", SITE, OTHER_SITE}
    assert model.model_digest == release_files.sha256((release / "model.safetensors").read_bytes())
    assert model.statement["cost"]["delta"] == small_release.plan().delta


@pytest.mark.parametrize(
    "name", ["model.safetensors", "card.json", "plan.json", "keys.json", "certificate.dsse.json", "receipts/0.jsonl",
             "receipts/1.jsonl", "ledger/0.json", "ledger/1.json"]
)  # fmt: skip
@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_one_changed_byte_anywhere_is_refused_by_number_and_name(copy, name, place):
    data = bytearray((copy / name).read_bytes())
    data[int(len(data) * place)] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(VerificationFailed, match=r"fails check \d+ \([a-z ]+\): "):
        load_verified(copy)


def test_a_missing_file_is_refused_by_number_and_name(copy):
    (copy / "card.json").unlink()
    with pytest.raises(VerificationFailed, match=r"fails check 1 \(files\)"):
        load_verified(copy)


def test_an_extra_file_is_refused_by_number_and_name(copy):
    (copy / "model.pkl").write_bytes(b"")
    with pytest.raises(VerificationFailed, match=r"fails check 1 \(files\)"):
        load_verified(copy)


def test_a_link_in_a_files_place_is_refused_by_number_and_name(copy, release):
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to(release / "model.safetensors")
    with pytest.raises(VerificationFailed, match=r"fails check 1 \(files\)"):
        load_verified(copy)


def test_pinned_keys_must_be_the_releases(release, tmp_path):
    pinned = tmp_path / "pinned.json"
    shutil.copy(release / "keys.json", pinned)
    assert load_verified(release).keys == "self-asserted"
    held = load_verified(release, pinned)
    assert held.keys == "pinned"
    assert "pinned" in held.verdict.checks[1].detail
    with pytest.raises(VerificationFailed, match=r"fails check 2 \(keys\)"):
        load_verified(release, roots_of_another(release, tmp_path / "roots.json"))


def test_a_card_of_another_feature_space_than_was_charged_for_is_refused(tmp_path):
    """Signed as it is, and still not the plan's model."""
    group = small_release.Group(tmp_path)
    plan = small_release.plan()  # its features are not SPACE
    files = group.train("run-1", plan)
    with_model = release_files.read(write_release(tmp_path / "with-model"))
    for name in (release_files.CARD, release_files.MODEL):
        files[name] = with_model[name]
    certified = group.certified(files, group.certificate("run-1", plan, files))
    path = small_release.write(certified, tmp_path / "release")
    assert canonical.from_bytes(files[release_files.CARD], "card")["width"] == SPACE.width
    with pytest.raises(VerificationFailed, match=r"card\.json, features"):
        load_verified(path)


def test_a_path_without_a_release_is_refused(tmp_path):
    with pytest.raises(InputError):
        load_verified(tmp_path / "nothing")


def test_two_releases_of_one_use_case_are_refused(release):
    with pytest.raises(InputError, match="one per use case"):
        load_all([release, release])


def test_no_release_is_refused():
    with pytest.raises(InputError, match="at least one"):
        load_all([])
