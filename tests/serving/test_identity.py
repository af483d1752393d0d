"""Who gets in, and what they may do: every token that must fail, and the whole table of roles."""

import base64
import json
import stat
import time

import jwt
import pytest

from privacy import signing
from privacy.errors import InputError
from serving.identity import (
    AUDIENCE,
    EVERYONE,
    ISSUER,
    LONGEST_HOURS,
    OPERATIONS,
    SOURCE_HOURS,
    SOURCES,
    Identity,
    Role,
    TokenVerifier,
    check_permission,
    find_operation,
    issue_token,
    token_keys,
)
from serving.problems import Problem


@pytest.fixture
def verifier(tmp_path):
    return TokenVerifier.from_file(token_keys(tmp_path))


def identify(verifier, token):
    return verifier.identify([f"Bearer {token}"])


def forged(state, key=None, headers=None, algorithm="EdDSA", **changes):
    """A token by the state's key (or another) with some claims changed; None removes one."""
    token_keys(state)
    private = state / "token.key"
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "roles": ["reviewer"],
        "site": "north",
        "iat": now,
        "nbf": now,
        "exp": now + 600,
        "jti": "1",
    } | changes
    keyid = signing.signer_from_uri(f"file:{private}").keyid
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None},
        private.read_bytes() if key is None else key,
        algorithm=algorithm,
        headers={"kid": keyid} | (headers or {}),
    )


def test_an_issued_token_names_its_holder(tmp_path, verifier):
    identity = identify(verifier, issue_token(tmp_path, "reviewer", "ann@north", "north", 8))
    assert identity == Identity("ann@north", frozenset({Role.REVIEWER}), "north")


def test_the_forger_used_below_makes_valid_tokens_when_nothing_is_wrong(tmp_path, verifier):
    assert identify(verifier, forged(tmp_path)).subject == "ann"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": -60},  # a number is seconds from now
        {"nbf": 600},
        {"iat": 600},
        {"exp": 25 * 3600},
        {"aud": "somebody-else"},
        {"aud": ["kith", "somebody-else"]},
        {"iss": "somebody-else"},
        {"roles": ["emperor"]},
        {"roles": []},
        {"roles": "reviewer"},
        {"site": "*"},
        {"site": ""},
        {"site": 7},
        {"sub": "two\nlines"},
        {"sub": ""},
        {"jti": 1},
        {"jti": "a.b"},
        {"jti": "# comment"},
        {"jti": ""},
        *({claim: None} for claim in ("iss", "aud", "sub", "roles", "site", "iat", "nbf", "exp", "jti")),
    ],
    ids=str,
)
def test_a_claim_that_is_wrong_or_missing_keeps_out(tmp_path, verifier, changes):
    claims = {
        name: value + int(time.time()) if type(value) is int and name != "site" else value
        for name, value in changes.items()
    }
    with pytest.raises(Problem) as refused:
        identify(verifier, forged(tmp_path, **claims))
    assert refused.value.name == "unauthenticated"


def test_a_token_by_another_key_keeps_out(tmp_path, verifier):
    signing.create_key(tmp_path / "other.key")
    with pytest.raises(Problem):
        identify(verifier, forged(tmp_path, key=(tmp_path / "other.key").read_bytes()))


def test_a_token_that_names_an_unknown_key_keeps_out(tmp_path, verifier):
    with pytest.raises(Problem):
        identify(verifier, forged(tmp_path, headers={"kid": "0" * 64}))


def test_alg_none_keeps_out(tmp_path, verifier):
    _, payload, _ = forged(tmp_path).split(".")
    keyid = jwt.get_unverified_header(forged(tmp_path))["kid"]
    for algorithm in ("none", "None", "NONE"):
        header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "typ": "JWT", "kid": keyid}).encode())
        with pytest.raises(Problem):
            identify(verifier, f"{header.rstrip(b'=').decode()}.{payload}.")


def test_a_token_signed_with_the_public_key_as_a_shared_secret_keeps_out(tmp_path, verifier):
    secret = signing.signer_from_uri(f"file:{tmp_path}/token.key").public
    with pytest.raises(Problem):
        identify(verifier, forged(tmp_path, key=secret, algorithm="HS256"))


def test_one_changed_character_of_the_claims_keeps_out(tmp_path, verifier):
    header, payload, signature = forged(tmp_path).split(".")
    changed = payload[:20] + ("A" if payload[20] != "A" else "B") + payload[21:]
    with pytest.raises(Problem):
        identify(verifier, f"{header}.{changed}.{signature}")


@pytest.mark.parametrize("headers", [[], [""], ["Bearer"], ["Basic YTpi"], ["Bearer a.b.c"], ["Bearer " + "a" * 5000]])
def test_anything_but_one_bearer_token_keeps_out(verifier, headers):
    with pytest.raises(Problem):
        verifier.identify(headers)


def test_two_authorization_headers_keep_out(tmp_path, verifier):
    header = f"Bearer {issue_token(tmp_path, 'reviewer', 'ann', 'north', 1)}"
    with pytest.raises(Problem):
        verifier.identify([header, header])


@pytest.mark.parametrize(
    ("role", "subject", "site", "hours"),
    [
        ("emperor", "ann", "north", 1),
        ("reviewer", "", "north", 1),
        ("reviewer", "a b", "north", 1),
        ("reviewer", "ann", "", 1),
        ("reviewer", "ann", "*", 1),
        ("hr_partner", "ann", "*", 1),
        ("reviewer", "ann", "north", 0),
        ("reviewer", "ann", "north", 25),
        ("reviewer", "ann", "north", float("nan")),
        ("provisioning", "idp", "*", 1),
        ("provisioning", "idp", "north", 367 * 24),
        ("learning_system", "lms", "*", 1),
        ("learning_system", "lms", "north", 367 * 24),
    ],
)
def test_a_token_that_would_be_refused_is_not_issued(tmp_path, role, subject, site, hours):
    with pytest.raises(InputError):
        issue_token(tmp_path, role, subject, site, hours)


def test_auditors_and_privacy_officers_may_reach_every_site(tmp_path, verifier):
    for role in ("auditor", "privacy_officer"):
        assert identify(verifier, issue_token(tmp_path, role, "eve", "*", 1)).reaches("anywhere")


@pytest.mark.parametrize("role", list(Role))
def test_only_a_source_systems_token_lives_for_up_to_366_days(tmp_path, verifier, role):
    year = int(time.time()) + SOURCE_HOURS * 3600
    assert LONGEST_HOURS < SOURCE_HOURS == 366 * 24
    if role in SOURCES:
        assert identify(verifier, issue_token(tmp_path, role, "idp", "north", SOURCE_HOURS)).roles == {role}
        with pytest.raises(Problem):
            identify(verifier, forged(tmp_path, roles=[role], exp=year + 60))
        with pytest.raises(Problem):
            identify(verifier, forged(tmp_path, roles=sorted(SOURCES), exp=year))
    else:
        with pytest.raises(InputError):
            issue_token(tmp_path, role, "ann", "north", LONGEST_HOURS + 1)
        for roles in ([role], [role, "provisioning"], ["learning_system", role]):
            with pytest.raises(Problem):
                identify(verifier, forged(tmp_path, roles=roles, exp=year))


def basic(token, user="lms"):
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()


@pytest.mark.parametrize("role", sorted(SOURCES))
@pytest.mark.parametrize("user", ["lms", "", "lms@north.example", "Läufer"])
def test_a_source_systems_token_is_also_a_password(tmp_path, verifier, user, role):
    token = issue_token(tmp_path, role, "lms", "north", SOURCE_HOURS)
    assert verifier.identify([basic(token, user)]) == identify(verifier, token)


@pytest.mark.parametrize("role", sorted(EVERYONE))
def test_no_other_token_is_a_password(tmp_path, verifier, role):
    for roles in ([role], ["provisioning", role], ["learning_system", role]):
        token = forged(tmp_path, roles=roles)
        assert identify(verifier, token).subject == "ann"
        with pytest.raises(Problem):
            verifier.identify([basic(token)])


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h[:-9],
        lambda h: h.replace("Basic ", "Basic"),
        lambda h: h.replace("Basic", "Digest"),
        lambda h: f"{h} {h}",
        lambda h: h + "é",
    ],
)
def test_a_password_that_is_not_written_as_http_basic_has_it_keeps_out(tmp_path, verifier, change):
    header = basic(issue_token(tmp_path, "learning_system", "lms", "north", 1))
    assert verifier.identify([header]).subject == "lms"
    with pytest.raises(Problem):
        verifier.identify([change(header)])


def test_others_reach_their_own_site_only(tmp_path, verifier):
    identity = identify(verifier, issue_token(tmp_path, "reviewer", "ann", "north", 1))
    assert identity.reaches("north")
    assert not identity.reaches("south")


def test_the_private_key_is_the_owners_alone_and_the_jwks_holds_no_secret(tmp_path):
    keys = token_keys(tmp_path)
    assert stat.S_IMODE((tmp_path / "token.key").stat().st_mode) == 0o600
    assert all(set(key) == {"kty", "crv", "use", "alg", "kid", "x"} for key in json.loads(keys.read_text())["keys"])


def test_a_private_key_that_others_can_read_is_refused(tmp_path):
    token_keys(tmp_path)
    (tmp_path / "token.key").chmod(0o644)
    with pytest.raises(InputError):
        issue_token(tmp_path, "reviewer", "ann", "north", 1)


@pytest.mark.parametrize(("below", "got"), [("", "File exists"), ("below", "Not a directory")])
def test_a_state_folder_that_is_a_file_is_named(tmp_path, below, got):
    state = tmp_path / "file" / below
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"^state: expected a folder that can be written at {state}, got {got}$"):
        issue_token(state, "reviewer", "ann", "north", 1)


def test_a_jwks_file_that_can_not_be_written_is_refused(tmp_path):
    (tmp_path / "token-keys.json").symlink_to(tmp_path / "nowhere" / "keys.json")
    with pytest.raises(InputError, match="got No such file or directory"):
        token_keys(tmp_path)


def test_a_second_token_is_signed_with_the_same_key(tmp_path, verifier):
    first, second = (issue_token(tmp_path, "reviewer", "ann", "north", 1) for _ in range(2))
    assert first != second
    assert identify(verifier, first) == identify(verifier, second)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "1"}]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "AAAA"}]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "'
        + base64.urlsafe_b64encode(bytes(32)).rstrip(b"=")
        + b'", "d": "AAAA"}]}',
    ],
)
def test_a_key_file_with_anything_but_ed25519_public_keys_is_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_bytes(content)
    with pytest.raises(InputError):
        TokenVerifier.from_file(path)


def test_what_is_not_in_the_table_does_not_exist():
    for method, path in [
        ("GET", "/"),
        ("GET", "/metrics"),
        ("POST", "/recommend"),
        ("GET", "/v1/decisions/"),
        ("GET", "/v1/decisions/a/b"),
        ("GET", "/v1/decisions/a%2Fb"),
        ("GET", "//v1/decisions"),
        ("GET", "/openapi-json"),
        ("GET", "/scim/v2"),
        ("GET", "/scim/v2x/Users"),
        ("GET", "/scim/v1/Users"),
        ("POST", "/xapi"),
        ("POST", "/x/xapi/statements"),
    ]:
        with pytest.raises(Problem) as refused:
            find_operation(method, path)
        assert refused.value.name == "not-found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("DELETE", "/v1/decisions", "GET"), ("DELETE", "/xapi/statements", "GET, POST, PUT"),
     ("TRACE", "/scim/v2/Users", "DELETE, GET, PATCH, POST, PUT")],
)  # fmt: skip
def test_a_known_address_with_another_method_says_which_it_takes(method, path, allowed):
    with pytest.raises(Problem) as refused:
        find_operation(method, path)
    assert (refused.value.name, refused.value.headers) == ("method-not-allowed", {"Allow": allowed})


MAY = {
    "recommend": {"application", "hr_partner"},
    "explain": {"reviewer", "hr_partner", "auditor", "application"},
    "list_decisions": {"reviewer", "hr_partner", "auditor"},
    "get_decision": {"reviewer", "hr_partner", "auditor"},
    "decide": {"reviewer", "hr_partner"},
    **{name: EVERYONE for name in ("certificate", "contract", "bento_contract", "problem")},
    "scim": {"provisioning"},
    "xapi": {"learning_system"},
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_role_may_do_what_the_table_says_and_nothing_else(role, operation):
    identity = Identity("ann", frozenset({role}), "north")
    if role in MAY[operation.name]:
        check_permission(identity, operation)
    else:
        with pytest.raises(Problem) as refused:
            check_permission(identity, operation)
        assert refused.value.name == "forbidden"
