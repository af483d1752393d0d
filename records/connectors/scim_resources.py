"""What is known of a user, and how much of it a site advertises.

The catalogue holds every attribute that can have a purpose. A site advertises, accepts and stores only those that its
mapping reads, beside the ones that provisioning itself needs. Names, e-mail addresses, telephone numbers, photos,
addresses and roles are in no schema here: an identity provider may send them, and they are dropped unread.

Groups are not advertised: no purpose in the registry needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from scim2_models import (
    URN,
    AuthenticationScheme,
    Bulk,
    CaseExact,
    ChangePassword,
    ComplexAttribute,
    ETag,
    Extension,
    Filter,
    Patch,
    Path,
    Required,
    Resource,
    ResourceType,
    Schema,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    Uniqueness,
)

CORE: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
EMPLOYMENT: Final = "urn:kith:scim:schemas:1.0:Employment"
NUMBER: Final = f"{ENTERPRISE}:employeeNumber"
MANAGER: Final = f"{ENTERPRISE}:manager.value"
HIRED: Final = f"{EMPLOYMENT}:hireDate"
ENDED: Final = f"{EMPLOYMENT}:endDate"
NEEDED: Final = frozenset({"userName", "active", NUMBER, ENDED})
"""What provisioning needs whatever the mapping reads: who, and until when."""
EXAMPLE_DAY: Final = "2026-01-31"
"""SCIM has no type for a day; a canonical value shows the writing, as RFC 7643, section 7 lets it suggest one."""
MAX_PAGE: Final = 200

POLICY: Final = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
"""What is not advertised is dropped, and Microsoft Entra's ways of writing a PATCH are understood."""


class User(Resource[Any]):
    """A person's account, without the person's name."""

    __schema__ = URN(CORE)

    user_name: Annotated[str | None, Required.true, Uniqueness.server] = None
    """What the identity provider calls the account."""

    active: bool | None = None
    """Whether the person works here; false ends it, as a deletion does."""

    user_type: str | None = None
    """What kind of worker the person is."""

    preferred_language: str | None = None
    """The language that the person reads, such as "nb-NO"."""

    locale: str | None = None
    """The writing of dates and numbers, such as "nb-NO"."""

    timezone: str | None = None
    """A time zone of the IANA database, such as "Europe/Oslo"."""

    title: str | None = None
    """The person's role."""


class Manager(ComplexAttribute):
    """To whom somebody reports."""

    value: Annotated[str | None, CaseExact.true] = None
    """The `id` of the manager's User, or an employee number."""


class EnterpriseUser(Extension):
    """The enterprise extension (RFC 7643, section 4.3)."""

    __schema__ = URN(ENTERPRISE)

    employee_number: Annotated[str | None, CaseExact.true, Uniqueness.server] = None
    """Whose records these are. Without it the account is kept and no record comes of it."""

    cost_center: str | None = None
    """The cost centre."""

    organization: str | None = None
    """The company."""

    division: str | None = None
    """The division."""

    department: str | None = None
    """The department."""

    manager: Manager | None = None
    """To whom the person reports."""


class Employment(Extension):
    """What the enterprise extension does not say about an employment."""

    __schema__ = URN(EMPLOYMENT)

    hire_date: str | None = None
    """The day on which the employment began, YYYY-MM-DD."""

    end_date: str | None = None
    """The last day of the employment, YYYY-MM-DD."""

    exit_type: str | None = None
    """How the employment ended."""

    employment_type: str | None = None
    """The kind of contract."""

    job_family: str | None = None
    """The family of jobs."""

    level: str | None = None
    """The level in that family."""

    level_since: str | None = None
    """The day from which the level holds, YYYY-MM-DD."""

    work_mode: str | None = None
    """Where the work is done."""

    work_timezone: str | None = None
    """Where the person works, as a time zone of the IANA database."""

    fte: str | None = None
    """The part of full time, as a decimal number."""

    commute_minutes: str | None = None
    """How long the way to work takes, in minutes."""

    candidate_id: Annotated[str | None, CaseExact.true] = None
    """The number under which the person applied."""


def of(generic: Any, model: Any) -> Any:
    """`generic[model]`, for a model that is known at run time only."""
    return generic[model]


_WHOLE: Final = of(User, EnterpriseUser | Employment)
CATALOGUE: Final = tuple(map(str, of(Path, _WHOLE).iter_paths()))
"""Paths of all attributes."""


@dataclass(frozen=True, slots=True)
class Advertised:
    """What one site's service provider says of itself.

    Attributes:
        provider: schemas and resource types.
        configuration: what of the protocol is supported.
        model: a user with the attributes advertised.
        cells: paths of the attributes that a record is made of.
    """

    provider: ScimProvider
    configuration: ServiceProviderConfig
    model: type[Resource[Any]]
    cells: tuple[str, ...]


def advertised(read: Iterable[str], suggested: Mapping[str, Iterable[str]]) -> Advertised:
    """The service provider of a mapping that reads these cells.

    Args:
        read: attribute paths; those outside the catalogue are not advertised.
        suggested: canonical values by attribute path.
    """
    wanted = NEEDED | (set(read) & set(CATALOGUE))
    schemas = [_schema(part, wanted, suggested) for part in (User, EnterpriseUser, Employment)]
    kind = ResourceType.from_resource(_WHOLE)
    kind.description = "An employee's account"
    configuration = _configuration()
    provider = ScimProvider.from_discovery(schemas, [kind], configuration, POLICY)
    model: Any = provider.model_for(kind)
    return Advertised(provider, configuration, model, tuple(path for path in CATALOGUE if path in wanted))


def _schema(
    part: type[User] | type[Extension], wanted: frozenset[str], suggested: Mapping[str, Iterable[str]]
) -> Schema:
    """The part's schema without what is not wanted."""
    schema = part.to_schema()
    prefix = "" if part is User else f"{part.__schema__}:"
    schema.attributes = [
        attribute
        for attribute in schema.attributes or []
        if any(path == prefix + str(attribute.name) or path.startswith(f"{prefix}{attribute.name}.") for path in wanted)
    ]
    for attribute in schema.attributes:
        values = suggested.get(prefix + str(attribute.name))
        attribute.canonical_values = list(values) if values else None
    return schema


def _configuration() -> ServiceProviderConfig:
    return ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=MAX_PAGE),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=True),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type=AuthenticationScheme.Type.oauthbearertoken,
                name="Bearer token",
                description="A token that the site issued to the identity provider (RFC 6750)",
            )
        ],
    )
