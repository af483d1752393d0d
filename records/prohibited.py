"""What is never held about people, refused by the name of the column, with the reason and where it is written.

A name is read as its words: `EmpReligion`, `emp_smoker`, `D.O.B.` and `Blutgruppe` are caught, `healthcare_division`
and `voice_of_customer_training` are not. A word that mixes alphabets is refused, whatever it looks like. Names can not
show everything that a column holds: this is the last line behind the registry, which lets in nothing that it does not
name, and it errs towards refusing.

A pattern is one or more whole words; a `*` at an end stands for the rest of a word. Common words are given in English,
German, French, Spanish, Italian, Portuguese, Dutch and the Scandinavian languages.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from privacy.errors import Refused

MAX_READ: Final = 500
"""Characters of a name that are read; no column's name is longer (records.table.MAX_NAME)."""


@dataclass(frozen=True, slots=True)
class Prohibition:
    """Why a name is refused.

    Attributes:
        topic: what the column seems to hold.
        reason: why it is not held, as the rest of a sentence.
        source: where that is written.
        vault: whether the vault may hold it, stated by the person, for audits alone.
    """

    topic: str
    reason: str
    source: str
    vault: bool = False

    def __str__(self) -> str:
        return f"{self.topic}: {self.reason} ({self.source})"


_EMOTION: Final = "what someone feels is not inferred from how they speak, write or look"
_WATCHING: Final = "people are not watched while they work"
_SPECIAL: Final = "it is a special category of personal data"
_NEEDLESS: Final = "it serves no purpose here and does harm when it leaks"
_VAULT: Final = "a protected trait is known to the auditor's vault alone"

_ART_5F: Final = "AI Act Art. 5(1)(f)"
_ART_9: Final = "GDPR Art. 9(1)"
_MINIMAL: Final = "GDPR Art. 5(1)(c)"
_EQUAL: Final = "AI Act Art. 10(5), Directives 2000/43/EC, 2000/78/EC and 2006/54/EC"

_NAMED: Final[tuple[tuple[Prohibition, str], ...]] = (
    (
        Prohibition("keystrokes and mouse movements", _WATCHING, f"{_MINIMAL}, ECHR Art. 8"),
        "*keystroke*, key stroke, key strokes, keylog*, key log, key logger, keyboard activity, typing speed, "
        "typing rhythm, mouse activity, mouse movement*, mouse click*, idle time, tastenanschl*, frappes clavier, "
        "pulsaciones",
    ),
    (
        Prohibition("screenshots and recordings of screens", _WATCHING, f"{_MINIMAL}, ECHR Art. 8"),
        "*screenshot*, screen shot, screen shots, screen capture*, screen recording*, screencast*, bildschirmfoto*, "
        "capture ecran, captura de pantalla, skjermbilde*",
    ),
    (
        Prohibition("voice", _EMOTION, _ART_5F),
        "voice*, speech, vocal*, audio, call recording*, phone recording*, =stimme, sprachaufnahme*, voix, voz, "
        "=voce, =stemme",
    ),
    (
        Prohibition("video and webcam", _EMOTION, _ART_5F),
        "video*, *webcam*, web cam, camera*, facial*, face image*, face photo*, face recogn*, facerecogn*, gaze, "
        "eye tracking, kamera*, gesicht*, visage, rostro, photo, photos, foto, fotos, lichtbild*, passbild*",
    ),
    (
        Prohibition("emotion, mood and tone", _EMOTION, _ART_5F),
        "emotion*, emocion*, emozion*, emocao, *sentiment*, mood*, tone, tonality, stimmung*, tonfall, gefuhl*, "
        "gefuehl*, humeur, estado de animo, umore, folelse*, kansla, gemoed*, valence, arousal, happiness score, "
        "anger, stress level*, stress score*",
    ),
    (
        Prohibition("the content of messages", _WATCHING, f"{_MINIMAL}, ECHR Art. 8"),
        "message tone, message text, message body, message content*, email body, email text, email content*, mail "
        "body, mail text, chat text, chat content*, chat message*, slack message*, email subject, nachrichtentext",
    ),
    (
        Prohibition("location tracking", _WATCHING, f"{_MINIMAL}, ECHR Art. 8"),
        "gps*, geolocation*, geo location, geofenc*, latitude, longitude, location tracking, location history, "
        "location trace, live location, whereabouts, movement profile, bewegungsprofil*, standortverfolgung*, "
        "geolocali*, badge swipe*, wifi location, ip address*, ipaddress*, ip adresse, =ip",
    ),
    (
        Prohibition("private social media", _NEEDLESS, f"{_MINIMAL}, ECHR Art. 8"),
        "social media, social network*, facebook*, instagram*, tiktok*, tik tok, twitter*, snapchat*, whatsapp*, "
        "reddit*, soziale medien, reseaux sociaux, redes sociales",
    ),
    (
        Prohibition("health", _SPECIAL, _ART_9),
        "health, healthstatus, healthdetail*, healthissue*, illness*, disease*, sick*, medical*, medication*, "
        "symptom*, allerg*, vaccin*, covid*, hiv, bmi, bodymass*, body mass, body weight, bodyweight, psych*, "
        "depression, burnout*, burn out, addiction*, alcohol*, drug test*, drugs, hospitalis*, hospitaliz*, "
        "gesundheit*, krank*, erkrank*, au tage, autage, arbeitsunfahig*, arzt*, arztlich*, impf*, sante, maladie*, "
        "arret maladie, salud, enfermedad*, baja medica, salute, malattia, saude, doenca, gezondheid*, ziek*, helse*, "
        "halsa, sykdom*, sykmeld*, sjuk*, sygdom*, sygefrav*",
    ),
    (
        Prohibition("diagnoses", _SPECIAL, _ART_9),
        "*diagnos*, icd, disorder*, befund*",
    ),
    (
        Prohibition("blood group", _SPECIAL, _ART_9),
        "blood*, *blutgr*, bluttyp, blut, groupe sanguin, groupesanguin*, grupo sanguineo, gruppo sanguigno, "
        "gruposanguineo, tipo sanguineo, bloedgroep, blodtype, blodgrupp",
    ),
    (
        Prohibition("disability", _VAULT, f"{_ART_9}, {_EQUAL}", vault=True),
        "disab*, *disabilit*, handicap*, visual impairment*, hearing impairment*, behinder*, schwerbehinder*, gdb, "
        "invalidit*, discapacidad*, deficiencia*, funksjonsned*, funktionsned*, wheelchair*",
    ),
    (
        Prohibition("pregnancy and parental leave", _SPECIAL, f"{_ART_9}, Directive 92/85/EEC"),
        "*pregnan*, maternity*, paternity*, parental*, breastfeed*, fertility, miscarriage, *schwanger*, "
        "mutterschutz*, mutterschaft*, elternzeit*, grossesse, enceinte, maternite, embaraz*, maternidad, gravid*, "
        "maternita, zwanger*, foreldrepermisjon*, barsel*",
    ),
    (
        Prohibition("smoking", _SPECIAL, f"{_ART_9}, {_MINIMAL}"),
        "*smoker, *smokers, smoking, smokes, tobacco, nicotine, raucher*, nichtraucher*, fumeur*, fumador*, "
        "fumatore, fumante, roker, royker*, =rokare",
    ),
    (
        Prohibition("genetic and biometric data", _SPECIAL, f"{_ART_9}, AI Act Art. 5(1)(g)"),
        "genetic*, genom*, dna, *biometri*, fingerprint*, finger print*, faceprint*, face id, iris scan*, retina*, "
        "palm print*, voiceprint*, heart rate, heartrate, genetisch*, genetique*, fingerabdr*, empreinte*, huella "
        "dactilar",
    ),
    (
        Prohibition("religion and belief", _SPECIAL, _ART_9),
        "*religi*, faith, church*, creed, denomination, belief, beliefs, worship, konfession*, =konf, kirche*, "
        "glaube*, =culte, =credo, geloof, trossamfunn*",
    ),
    (
        Prohibition("ethnicity, race and origin", _VAULT, f"{_ART_9}, {_EQUAL}", vault=True),
        "*ethnic*, ethn, race, races, racial*, skin colo*, skincolo*, caste, tribe, tribal, *nationality, nation, "
        "national origin, citizenship, native place, native location, mother tongue, country of birth, place of "
        "birth, ethnie*, ethnisch*, rasse, hautfarbe, herkunft*, staatsang*, nationalit*, migration "
        "background, migrationshintergrund*, origine, etnia, etnic*, raza, nacionalidad, nazionalita, afkomst, "
        "etnis*, statsborger*",
    ),
    (
        Prohibition("politics", _SPECIAL, _ART_9),
        "politic*, political*, politisch*, politik, politique*, politiek*, politisk*, party membership, party "
        "member, partei*, voting record*, voter*, activis*",
    ),
    (
        Prohibition("union membership", _SPECIAL, f"{_ART_9}, Charter of Fundamental Rights Art. 28"),
        "union, unions, union*member*, unionis*, unioniz*, trade union*, tradeunion*, *gewerkschaft*, syndicat*, "
        "syndique*, sindicat*, sindical*, sindacat*, vakbond*, fagforening*, fagorganis*, fackforbund*, "
        "fackforening*, strike day*, strike participation, betriebsrat*, works council member*",
    ),
    (
        Prohibition("sexual orientation and sex life", _SPECIAL, _ART_9),
        "sexual*, sexuell*, sexuel, sexuelle, orientation sexuelle, orientacion sexual, lgbt*, homosexual*, "
        "transgender*, trans identity, seksuel*",
    ),
    (
        Prohibition("sex and gender", _VAULT, f"{_MINIMAL}, {_EQUAL}", vault=True),
        "sex, *gender*, geschl, geschlecht*, sexe, sexo, sesso, genero, geslacht, kjonn*, =kon, =genre, pronoun*, "
        "salutation, anrede, maiden name",
    ),
    (
        Prohibition("age", _VAULT, f"{_MINIMAL}, {_EQUAL}", vault=True),
        "age, agegroup, *birthda*, birth*, dob, yob, born, *geburt*, geb dat*, gebdat*, =geb, =alter, naissance, "
        "nacimiento, fecha nac, nascita, nascimento, edad, =eta, idade, leeftijd, geboorte*, fodselsdato, fodselsar, "
        "fodselsdag, =alder, over 18, under 18",
    ),
    (
        Prohibition("family and marriage", _NEEDLESS, f"{_MINIMAL}, Directive 2006/54/EC"),
        "marital*, marriage*, married, spouse*, husband, wife, children, child, kids, dependents, dependants, family "
        "status, family members, familienstand*, verheiratet, ehepartner*, kinder, situation familiale, estado civil, "
        "estadocivil, stato civile, estado casado, burgerlijke staat, sivilstand*, civilstand*, *steuerklasse*",
    ),
    (
        Prohibition("military service", _NEEDLESS, _MINIMAL),
        "military*, veteran*, army, conscript*, wehrdienst*, militar*, servicio militar, service militaire, "
        "dienstplicht*",
    ),
    (
        Prohibition("criminal record", "it is kept under the control of an authority alone", "GDPR Art. 10"),
        "criminal*, conviction*, police record, background check result, vorstrafe*, fuhrungszeugnis*, casier "
        "judiciaire, antecedentes penales",
    ),
    (
        Prohibition("social security and national identity numbers", _NEEDLESS, f"GDPR Art. 87, {_MINIMAL}"),
        "*ssn, social security*, socialsecurity*, =sin, social insurance*, national id*, nationalid*, national "
        "insurance*, nino, identity card*, id card*, passport*, driving licen*, driver licen*, drivers licen*, "
        "licence no, license no, dri lice*, tax id*, taxid*, tin number, visa number, personnummer*, fodselsnummer*, "
        "fodselsnr*, ni number, ni no, sv nummer, sv nr, svnummer, svnr, personalausweis*, ausweis*, reisepass*, "
        "sozialversicherung*, rentenversicherung*, steuer id, steuerid, steueridentifik*, steuernummer*, numero de "
        "securite sociale, securite sociale, =nir, =dni, =nif, =nie, cpf, codice fiscale, codicefiscale, bsn, "
        "burgerservicenummer*, pesel, cpr, aadhaar, aadhar",
    ),
    (
        Prohibition("bank details", _NEEDLESS, _MINIMAL),
        "bank, bank*account*, bankaccount*, bankname*, iban, swift code, bic, routing number, sort code, credit "
        "card*, creditcard*, bankverbindung*, kontonummer*, compte bancaire, cuenta bancaria, credit score, debt*, "
        "garnish*, pfandung*, kontonr",
    ),
)
MIXED: Final = Prohibition(
    "letters of several alphabets in one word", "it is written to pass for another word", "GDPR Art. 5(1)(a)"
)
"""A way of writing a name, and no topic of its own."""
TOPICS: Final = tuple(topic for topic, _ in _NAMED)
"""All that is refused, in order."""
_HARMLESS: Final = (
    "voice of customer*, voice of the customer*, voice of employee*, health care division*, health care department*, "
    "health care sector*, health care training*, health and safety, health safety, occupational safety and health, "
    "medical device*, medical technology, emotional intelligence, video conferencing, video course*, video training*, "
    "video editing, video production, camera operator*, race condition*, european union, credit union, bank holiday*, "
    "investment bank*, political science, social media manage*, social media marketing, photo editing, photo "
    "production, photo course*, psychological safety, diagnostic imaging, data age, account age, ticket age, account "
    "disabled, login disabled, disabled account*, disabled login*, drug safety"
)
"""What would be caught and is work, not a person: taken out of a name before the name is judged."""
_NOISE: Final = frozenset(
    {"emp", "employee", "person", "worker", "staff", "candidate", "hr", "id", "num", "nr", "no", "number", "code"}
)
"""Words that say nothing of what a column holds; a pattern that starts with `=` is the whole name without them."""
_OTHER_LETTERS: Final = str.maketrans(
    {"æ": "ae", "œ": "oe", "ð": "d", "þ": "th", "ɑ": "a"} | dict.fromkeys("\u115f\u1160\u3164\uffa0\u2800", "")
)
"""With the fillers: characters that are letters or signs and show nothing."""
_HIDDEN: Final = frozenset({"Mn", "Me", "Cf"})
_ONE_LETTER: Final = re.compile(r"LATIN .*LETTER (?:[A-Z ]+ )?([A-Z])(?: WITH .+)?")
"""The name of a letter that is another one with a stroke, without its dot, or in another type."""
_EAST_ASIAN: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"})
"""Scripts that are written with others in one word, and look like no other."""
_SPELT: Final = re.compile(r"\b([^\W\d_]) (?=[^\W\d_]\b)")
_UNION: Final = re.compile(r"""(?<![\w"'`])union(?![\w"'`])""", re.IGNORECASE)
"""The word of SQL; a column of that name has to stand in quotes."""
_QUOTED: Final = re.compile(r"""(?=["'`]([^"'`]{1,200})["'`])""")
_HUMPS: Final = re.compile(
    r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[^\W\d_])(?=[0-9])|(?<=[0-9])(?=[^\W\d_])"
)


def prohibition(name: str, in_vault: bool = False) -> Prohibition | None:
    """Why a column of this name is refused, or None if its name is no reason to.

    Args:
        name: of a column, a cell or a feature, in any writing; its first 500 characters are read.
        in_vault: whether it is a trait of the vault, where some of what is prohibited elsewhere may be.
    """
    return next((found for found in _found(name[:MAX_READ]) if not (in_vault and found.vault)), None)


def refuse(name: str, where: str, in_vault: bool = False) -> None:
    """Does nothing, unless the name is prohibited.

    Raises:
        Refused: naming `where`, the name, the topic, the reason and its source.
    """
    if found := prohibition(name, in_vault):
        raise Refused(f"{where}: expected no prohibited column, got {name!r:.80}, {found}")


def refuse_query(query: str, where: str, in_vault: bool = False) -> None:
    """Does nothing, unless a word of an SQL query, or what stands there in quotes, is a prohibited name.

    So a column does not pass under another name. Comments are read too, as databases differ in what they take for one.

    Raises:
        Refused: as `refuse` does.
    """
    query = _UNION.sub(" ", query)
    for name in sorted({*re.findall(r"\w+", query), *_QUOTED.findall(query)}):
        refuse(name, where, in_vault)


@lru_cache(maxsize=4096)
def _found(name: str) -> tuple[Prohibition, ...]:
    words = _words(name)
    if any(_is_mixed(word) for word in words):
        return (MIXED,)
    text = " ".join(_HARMLESS_WORDS.sub(" ", " ".join(words)).split())
    whole = " ".join(word for word in words if word not in _NOISE)
    return tuple(topic for topic, part, exact in _PATTERNS if part.search(text) or exact.fullmatch(whole))


def _words(name: str) -> list[str]:
    """The words of a name: parted where case, digits and signs part them, in plain lower-case letters.

    Letters that stand alone, one after the other, are one word.
    """
    letters = (c for c in unicodedata.normalize("NFKD", name) if unicodedata.category(c) not in _HIDDEN)
    parted = _HUMPS.sub(" ", "".join(map(_plain, letters))).casefold().translate(_OTHER_LETTERS)
    return _SPELT.sub(r"\1", " ".join(re.findall(r"[^\W_]+", parted))).split()


def _plain(letter: str) -> str:
    """The letter of the Latin alphabet that this one is a form of, if it is."""
    form = None if letter.isascii() else _ONE_LETTER.fullmatch(unicodedata.name(letter, ""))
    return letter if form is None else form[1] if letter.isupper() else form[1].lower()


def _is_mixed(word: str) -> bool:
    scripts = {unicodedata.name(c, "?").split()[0] for c in word if c.isalpha()}
    return len(scripts - _EAST_ASIAN) > 1


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    """A pattern of whole words that finds any of the given ones, and nothing if there are none."""
    found = "|".join(re.escape(pattern).replace(r"\*", r"\w*") for pattern in patterns)
    return re.compile(rf"\b(?:{found or '(?!)'})\b")


def _compiled(topic: Prohibition, patterns: str) -> tuple[Prohibition, re.Pattern[str], re.Pattern[str]]:
    each = patterns.split(", ")
    exact = [pattern[1:] for pattern in each if pattern.startswith("=")]
    return topic, _any_of([pattern for pattern in each if not pattern.startswith("=")]), _any_of(exact)


_PATTERNS: Final = tuple(_compiled(topic, patterns) for topic, patterns in _NAMED)
_HARMLESS_WORDS: Final = _any_of(_HARMLESS.split(", "))
