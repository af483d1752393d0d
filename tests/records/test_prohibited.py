"""Names of columns that are refused, in the writings in which they come, and names that only look alike."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.errors import Refused
from records.prohibited import MIXED, TOPICS, prohibition, refuse, refuse_query
from records.registry import load_registry

CAUGHT = {
    "keystrokes and mouse movements": ["keystrokes_per_hour", "KeystrokeCount", "TASTENANSCHLÄGE", "mouse_activity"],
    "screenshots and recordings of screens": ["screenshot_url", "ScreenCaptureCount", "Screen recordings"],
    "voice": ["voice_sample", "VoicePitch", "speech_rate", "Sprachaufnahme"],
    "video and webcam": ["video_minutes", "webcam_on", "facialExpression", "Kamera", "usesWebcam", "Photo"],
    "emotion, mood and tone": ["emotion", "EmotionScore", "message_tone", "sentiment_7d", "Stimmung", "mood", "Gefühl"],
    "the content of messages": ["message_text", "EmailBody", "slack_messages", "chat content"],
    "location tracking": ["gps_lat", "GeoLocation", "location_tracking", "latitude", "badge_swipes", "ip", "IPAddress"],
    "private social media": ["facebook_url", "Instagram", "social_media_profile", "TwitterHandle"],
    "health": [
        *("health_details", "HealthInsurance", "sick_days", "Krankheitstage", "Gesundheit", "mental_health", "BMI"),
        *("AU-Tage", "Arbeitsunfähigkeit", "santé", "salud", "helse", "vaccinated", "burnout_score", "medical_leave"),
    ],
    "diagnoses": ["diagnosis", "Diagnose", "ICD10", "Befund"],
    "blood group": ["blood_group", "bloodgroup", "Blutgruppe", "BLOOD TYPE", "groupe_sanguin", "grupo sanguíneo"],
    "disability": ["disability", "DisabilityStatus", "Schwerbehinderung", "handicap", "is_disabled", "discapacidad"],
    "pregnancy and parental leave": ["pregnant", "PregnancyWeek", "maternity_leave", "Schwangerschaft", "embarazo"],
    "smoking": ["emp_smoker", "Smoker", "empsmoker", "Raucher", "fumeur", "NON-SMOKER", "nicotine"],
    "genetic and biometric data": [
        "fingerprint_id",
        "dna",
        "GeneticRisk",
        "biometric_hash",
        "Fingerabdruck",
        "heart_rate",
    ],
    "religion and belief": ["EmpReligion", "religious_holidays", "EMPRELIGION", "Konfession", "Kirchensteuer", "faith"],
    "ethnicity, race and origin": [
        *("ethnic_race_code", "race", "Ethnicity", "nation_code", "nationality", "Staatsangehörigkeit", "caste"),
        *("Candidate Native location", "skin_color", "Staatsang."),
    ],
    "politics": ["political_party", "Politics", "politische Haltung", "voter_id"],
    "union membership": [
        *("union_member", "UnionMembership", "Gewerkschaftszugehörigkeit", "syndicat", "fagforening", "sindicato"),
    ],
    "sexual orientation and sex life": ["sexual_orientation", "LGBTQ", "SexuelleOrientierung", "homosexual"],
    "sex and gender": [
        "sex",
        "emp_gender",
        "Geschlecht",
        "Kjønn",
        "Kön",
        "sexe",
        "EmployeeGender",
        "Anrede",
        "Geschl.",
    ],
    "age": [
        "Age",
        "age_band",
        "birth_date",
        "dateOfBirth",
        "Geburtsdatum",
        "DOB",
        "Over18",
        "naissance",
        "Geb.-Dat.",
        "Gebdat",
    ],
    "family and marriage": [
        "MaritalStatus",
        "marital_status",
        "children",
        "spouse_name",
        "Familienstand",
        "estado civil",
        "Steuerklasse",
    ],
    "military service": ["emp_military_service", "veteran", "Wehrdienst"],
    "criminal record": ["criminal_record", "convictions", "Vorstrafen"],
    "social security and national identity numbers": [
        *("emp_ssn_num", "SSN", "social_security_no", "emp_sin_num", "DNI", "fødselsnummer", "passport_number"),
        *("Sozialversicherungsnummer", "codice_fiscale", "Tax ID", "NationalIdentifier"),
        *("Fødselsnr", "SV-Nummer", "NI number"),
    ],
    "bank details": ["bank_ac_no", "BankName", "IBAN", "Kontonummer", "credit_score"],
}
HARMLESS = (
    *("healthcare_division", "health_and_safety_training", "health care training", "voice_of_customer_training"),
    *(
        "invoice_total",
        "milestone",
        "promotion_date",
        "demotion",
        "average_hours",
        "percentage",
        "manager",
        "engagement",
    ),
    *(
        "language",
        "message_count",
        "tenure_band",
        "trace_id",
        "terrace",
        "european_union_office",
        "credit_union_branch",
    ),
    *("sinister", "sin_experiencia", "dni_urlopu", "swift_projects", "medical_devices_course", "account_disabled"),
    *("emotional_intelligence_course", "video_conferencing_licence", "work_location", "location_country", "stage"),
    *("bank_holidays_worked", "investment_bank_unit", "data_age_days", "skill_level", "orientation_week", "reunion"),
    *(
        "political_science_course",
        "custom1",
        "",
        "_",
        "123",
        "é",
        "日本語",
        "payroll_run",
        "notice_period",
        "union"[:3],
    ),
    *(
        "社員ID",
        "人事コード",
        "ラベルA",
        "Ставка",
        "μισθός",
        "naïveté",
        "svn_revision",
        "Autageber",
        "photo_editing_course",
    ),
    *("plan_a_b", "Gebäude", "Straße", "Łódź", "Añb", "T-shirt"),
)


def test_every_topic_is_caught_by_name_in_several_writings() -> None:
    assert {topic.topic for topic in TOPICS} == set(CAUGHT)


@pytest.mark.parametrize("topic", list(CAUGHT))
def test_a_name_is_caught_as_what_it_is(topic: str) -> None:
    for name in CAUGHT[topic]:
        found = prohibition(name)
        assert found is not None, name
        assert found.topic == topic, name


@pytest.mark.parametrize("topic", list(CAUGHT))
def test_case_signs_accents_and_hidden_characters_hide_nothing(topic: str) -> None:
    for name in CAUGHT[topic]:
        whole = name if any(a.islower() and b.isupper() for a, b in pairwise(name)) else name.upper()
        for writing in (whole, f"  {name}  ", f"hr.{name}_2", name.replace("_", "-"), "\u200b".join(name)):
            if not any(name.startswith(short) for short in ("ip", "DNI", "Kön", "emp_sin", "hr")):
                assert prohibition(writing) is not None, writing
    for name in ("ＲＥＬＩＧＩＯＮ", "D.O.B.", "s e x", "H.I.V.", "rᴇligion", "reliɡion", "sₑx"):
        assert prohibition(name) in TOPICS, ascii(name)


@pytest.mark.parametrize(
    "mark", ["\u034f", "\ufe0f", "\u3164", "\u115f", "\uffa0", "\u2800", "\u20dd", "\u0336", "\u00ad"]
)
def test_marks_and_fillers_within_a_word_hide_nothing(mark: str) -> None:
    for name in ("religion", "Religion", "emp_smoker", "Geschlecht"):
        for place in range(1, len(name)):
            assert prohibition(name[:place] + mark + name[place:]) in TOPICS


@pytest.mark.parametrize(
    "name", ["rеligion", "genԁer", "ѕex", "emp_ѕmoker", "relіgіon_code", "healτh", "vοice", "ցender"]
)
def test_a_word_of_several_alphabets_is_refused(name: str) -> None:
    assert prohibition(name) is MIXED
    assert prohibition(name, in_vault=True) is MIXED


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, religion AS dept FROM e",
        "SELECT id, e.religion dept FROM e UNION SELECT 1, 2",
        'SELECT id, "Blood group" AS dept FROM e',
        "SELECT id, `union` AS dept FROM e",
        "SELECT id, data->>'religion' AS dept FROM e",
        "SELECT id, '--', religion AS dept FROM e",
        "SELECT id, 5--religion\n AS dept FROM e",
        "SELECT id /*! , religion AS dept */ FROM e",
        "SELECT id -- don't\n, religion AS dept, '" + "x" * 600 + "' FROM e",
        "SELECT id, " + "x" * 600 + " y, religion AS dept FROM e",
        "SELECT id, rеligion AS dept FROM e",
        "SELECT id, sex AS dept FROM e",
    ],
)
def test_a_column_does_not_pass_under_another_name_through_a_query(query: str) -> None:
    with pytest.raises(Refused, match="'query': expected no prohibited column"):
        refuse_query(query, "m.toml, 'query'")


def test_a_query_of_work_alone_passes_and_one_for_the_vault_may_name_its_traits() -> None:
    query = """SELECT "Employee No", AVG(hours) AS h, 'it''s' FROM a WHERE kind IN ('full time', 'part time')"""
    refuse_query(f"{query} UNION ALL {query} union {query}", "here")
    refuse_query("SELECT id, sex, birth_date FROM e", "here", in_vault=True)
    with pytest.raises(Refused):
        refuse_query("SELECT id, sex, religion FROM e", "here", in_vault=True)


@pytest.mark.parametrize("name", HARMLESS)
def test_names_that_only_look_alike_pass(name: str) -> None:
    assert prohibition(name) is None
    refuse(name, "here")


def test_a_harmless_phrase_does_not_shield_the_rest_of_a_name() -> None:
    for name in (
        "voice_of_customer_religion",
        "health_and_safety_diagnosis",
        "video_course_webcam",
        "credit_union_union",
    ):
        assert prohibition(name) is not None, name


def test_a_refusal_says_where_what_why_and_by_which_law() -> None:
    with pytest.raises(Refused) as caught:
        refuse("emp_smoker", "orangehrm.toml")
    assert str(caught.value) == (
        "orangehrm.toml: expected no prohibited column, got 'emp_smoker', smoking: it is a special category of "
        "personal data (GDPR Art. 9(1), GDPR Art. 5(1)(c))"
    )
    for topic in TOPICS:
        assert topic.reason
        assert any(law in topic.source for law in ("GDPR", "AI Act"))


def test_the_vault_may_hold_traits_that_audits_need_and_nothing_else() -> None:
    for name in ("sex", "Gender", "ethnic_race_code", "age_band_40", "disability_voluntary"):
        assert prohibition(name) is not None
        assert prohibition(name, in_vault=True) is None
    for name in ("religion", "union_member", "emp_smoker", "health", "gender_and_religion", "age_at_diagnosis", "SSN"):
        assert prohibition(name, in_vault=True) is not None, name


def test_the_registry_names_nothing_that_is_prohibited() -> None:
    registry = load_registry()
    for column in registry.columns.values():
        assert prohibition(column.field, in_vault=column.table == "protected") is None, column.name
    for name in registry.features:
        assert prohibition(name) is None, name


def test_in_real_exports_only_what_should_be_is_caught(real: Callable[[str], Path]) -> None:
    header = real("ibm_attrition/WA_Fn-UseC_-HR-Employee-Attrition.csv")
    names = header.read_text(encoding="utf-8-sig").splitlines()[0].split(",")
    assert len(names) > 30
    assert {name for name in names if prohibition(name)} == {"Age", "Gender", "MaritalStatus", "Over18"}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["religion", "emp_smoker", "blood group", "Geschlecht"]))
def test_any_text_has_an_answer_and_what_stands_apart_is_found(text: str, word: str) -> None:
    assert prohibition(text) in (None, MIXED, *TOPICS)
    assert prohibition(f"{word} {text}") is not None


def test_a_long_name_takes_no_long_time() -> None:
    for name in ("a" * 10**6, "religi" * 10**5, "a_" * 10**5, "A1" * 10**5, "ﷺ" * 10**5):
        assert prohibition(name) is None or name.startswith("religi")
