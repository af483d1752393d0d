"""Tokens taken back before their time, and every file that must not be read as "none was"."""

import os

import jwt
import pytest

from privacy.errors import InputError
from serving.identity import Identity, Role, TokenVerifier, issue_token, token_keys
from serving.problems import Problem
from serving.revocation import FILE, revoke


@pytest.fixture
def keys(tmp_path):
    return token_keys(tmp_path)


@pytest.fixture
def token(tmp_path):
    return issue_token(tmp_path, "provisioning", "idp", "north", 1)


def id_of(token):
    return jwt.decode(token, options={"verify_signature": False})["jti"]


def identify(verifier, token):
    return verifier.identify([f"Bearer {token}"])


def assert_out(verifier, token):
    with pytest.raises(Problem) as refused:
        identify(verifier, token)
    assert refused.value.name == "unauthenticated"


def test_a_token_taken_back_is_refused_from_the_next_question_on_and_no_other(tmp_path, keys, token):
    verifier, other = TokenVerifier.from_file(keys), issue_token(tmp_path, "provisioning", "idp", "north", 1)
    assert identify(verifier, token) == Identity("idp", frozenset({Role.PROVISIONING}), "north")
    for _ in range(2):
        assert revoke(keys, token) == id_of(token)
    assert (tmp_path / FILE).read_text() == f"{id_of(token)}\n"
    assert_out(verifier, token)
    assert_out(TokenVerifier.from_file(keys), token)
    assert identify(verifier, other).subject == "idp"
    revoke(keys, id_of(other))
    assert_out(verifier, other)
    assert_out(verifier, token)


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_read_again(tmp_path, keys, token):
    verifier, file, at = TokenVerifier.from_file(keys), tmp_path / FILE, (1_700_000_000, 1_700_000_000)
    for held in ("0" * 32, id_of(token)):
        (tmp_path / "new").write_text(f"{held}\n")
        os.utime(tmp_path / "new", at)
        (tmp_path / "new").rename(file)
        if held != id_of(token):
            assert identify(verifier, token).subject == "idp"
    assert_out(verifier, token)


def test_comments_blank_lines_and_a_missing_last_line_break_are_fine(tmp_path, keys, token):
    (tmp_path / FILE).write_text("# Läufer's old system\r\n\n  other-id  # 2026-01-02\nlast:id", encoding="utf-8")
    verifier = TokenVerifier.from_file(keys)
    assert identify(verifier, token).subject == "idp"
    revoke(keys, token)
    assert (tmp_path / FILE).read_text("utf-8").endswith(f"\nlast:id\n{id_of(token)}\n")
    assert_out(verifier, token)


@pytest.mark.parametrize("content", [b"two ids\n", b"\xff\xfe", b"a.b.c\n", b"a" * 129, b"a\0b", b"#" * (2**20 + 1)])
def test_a_file_with_anything_else_lets_nothing_start_and_nobody_in(tmp_path, keys, token, content):
    verifier = TokenVerifier.from_file(keys)
    (tmp_path / FILE).write_bytes(content)
    for attempt in (
        lambda: TokenVerifier.from_file(keys),
        lambda: identify(verifier, token),
        lambda: identify(verifier, token),
        lambda: revoke(keys, token),
    ):
        with pytest.raises(InputError, match=f"^revoked tokens: expected .* at {tmp_path / FILE}, got [a-z0-9 ]+$"):
            attempt()
    (tmp_path / FILE).unlink()
    assert identify(verifier, token).subject == "idp"


def test_a_folder_in_its_place_is_refused(tmp_path, keys):
    (tmp_path / FILE).mkdir()
    with pytest.raises(InputError, match="got Is a directory"):
        TokenVerifier.from_file(keys)


@pytest.mark.parametrize("text", ["", "two ids", "#", "a.b.c", "..", "a" * 129, "é", "{}\n"])
def test_what_is_neither_a_token_nor_an_id_is_not_taken_back(tmp_path, keys, text):
    with pytest.raises(InputError, match="expected a token or a token's id"):
        revoke(keys, text)
    assert not (tmp_path / FILE).exists()


def test_nothing_is_taken_back_where_no_token_keys_are(tmp_path):
    with pytest.raises(InputError, match="expected a JWKS file"):
        revoke(tmp_path / "nowhere" / "token-keys.json", "some-id")
