"""What is never stored, whatever a query asks and a pack says. Pure.

Three nets, since not everything can be told from one place: columns of osquery whose values nobody needs, names that
only a secret bears, and texts that look like a secret wherever they stand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from typing import Any

REDACTED = "[redacted]"

COLUMNS = frozenset(
    {
        # What a person typed.
        ("shell_history", "command"),
        # Environments are where services are handed their passwords.
        ("process_envs", "value"),
        ("process_events", "env"),
        ("es_process_events", "env"),
        ("docker_container_envs", "value"),
        ("docker_containers", "env_variables"),
        # environment.* and cloud-init's user-data, with whatever is in them.
        ("lxd_instance_config", "value"),
        ("lxd_cluster", "member_config_value"),
        # The body of any page, a cloud's credentials of the machine among them.
        ("curl", "result"),
    }
)
"""(table, column) of osquery."""

_BY_NAME = {table: frozenset(column for of, column in COLUMNS if of == table) for table, _ in COLUMNS}

NAME_COLUMNS = frozenset("key subkey name node path option label property setting variable".split())
VALUE_COLUMNS = frozenset("value data option_value current_value config_value default_value string_value".split())
"""In rows of settings the one names what the other holds: registry, plist, preferences, augeas, osquery_flags."""

_SECRET_NAME = re.compile(
    r"(?:pass(?:_?word|wd|_?phrase|_?code)s?|secrets?|credentials?|cookies?"
    r"|(?:private|secret|api|access|account|encryption|recovery|signing|license)_?keys?"
    r"|(?:access|refresh|auth|oauth|bearer|session|id|api|csrf|bot|mobileme)_?tokens?"
    r"|(?:^|_)(?:token|psk|prk|otp|totp)|base64_encrypted|encrypted_value)"
    r"(?:_?(?:value|hash|plain|text|fmm|enc|encrypted))?$"
)
_OTHER = re.compile(r"[^a-z0-9]+")
_FLAGS = frozenset(("", "0", "1", "-1", *"true false yes no on off none null enabled disabled".split()))

_BROWSING = re.compile(
    r"cookie|(?:brows|chrome|chromium|firefox|safari|edge|brave|opera|vivaldi)\w*"
    r"(?:histor|visit|download|bookmark|login|autofill|form_?fill|form_?history|url)"
)
"""Names of queries over browsers' own databases (osquery's automatic tables), which no schema knows."""

NEEDLES = (
    *("pass", "secret", "token", "credential", "key", "bearer", "authorization", "://", "eyj", "$"),
    *("ghp_", "github_pat_", "glpat-", "xox", "mst_", "mse_", "-u", "mysql"),
)
"""In lower case, and few: every answer is searched for them. ``redact`` changes no text that has none of them."""

# Every repetition is bounded, or takes what cannot begin a match that fails, so time grows with the length only.
_WORD = r"""(?i:pass(?:word|wd|phrase|code)s?|secrets?|tokens?|credentials?
            |(?:api|access|private|account|secret)[_-]?keys?)
            (?![_-][\w-]{0,40}(?:file|path|dir|ttl|timeout|length|age|status)\b)(?:[_-][\w-]{0,40})?"""
_VALUE = r"""(?:(?P<{quote}>["'])(?:(?!(?P={quote}))[^\\\n]|\\.)+|(?!["'])\S+)"""
_PLAIN = r"""(?!\\?["']?(?i:true|false|yes|no|on|off|none|null|enabled|disabled|required|optional|0|1)(?![\w]))
             (?!={0,2}\d{1,4}\.\d|(?:amd64|arm64|armhf|i386|all|any)\b)"""
_SECRETS = re.compile(
    rf"""
      -----BEGIN\ [A-Z0-9 ]{{0,40}}PRIVATE\ KEY
      (?:(?s:.*?)-----END\ [A-Z0-9 ]{{0,40}}PRIVATE\ KEY[A-Z ]{{0,10}}-----|(?s:.*))
    | (?P<header>(?i:authorization)\\?["']?\s{{0,5}}[:=]\s{{0,5}}(?:(?i:bearer|basic|digest|negotiate|token)\s{{1,5}})?)
      {_VALUE.replace("{quote}", "q1")}
    | (?P<bearer>(?i:\bbearer)\s{{1,5}})[\w.~+/-]{{16,}}={{0,2}}
    | (?P<option>(?<![\w-])--?(?=[\w-]{{0,60}}{_WORD}\s)[\w-]{{1,120}}\s{{1,5}})(?!-)
      {_PLAIN}{_VALUE.replace("{quote}", "q2")}
    | (?P<named>{_WORD}\\?["']?\s{{0,5}}[=:]>?\s{{0,5}}\\?){_PLAIN}{_VALUE.replace("{quote}", "q3")}
    | (?P<login>(?<![\w-])(?:-u|--user|--proxy-user)[\ =]\s{{0,4}}[^\s:]{{1,200}}:)(?!\d+(?:\s|$))\S+
    | (?P<short>\bsshpass\s{{1,5}}-p\s{{0,5}}|\bmysql\w{{0,10}}\s(?:[^|;\n]{{0,200}}?\s)?-p)\S+
    | (?P<url>://[^\s/:@]{{0,200}}:)[^\s/@]{{1,500}}(?=@)
    | (?<![\w-])eyJ[\w-]{{8,}}\.[\w-]{{8,}}(?:\.[\w-]*)?
    | \$(?:1|2[abxy]?|5|6|7|y|gy|sha1|pbkdf2[a-z0-9-]{{0,10}}|argon2[a-z]{{0,2}}|scrypt)\$[./\w$=,+-]{{8,}}
    | (?<![\w-])(?:ghp_|github_pat_|glpat-|xox[abeprs]-|mst_|mse_)[\w-]{{16,}}
    """,
    re.VERBOSE | re.ASCII,
)
_KEPT = ("header", "bearer", "option", "named", "login", "short", "url")


def is_secret_name(name: str) -> bool:
    """Whether a column or a setting of this name holds a secret: ``DefaultPassword``, ``client_secret``.

    ``minPasswordLength`` and ``password_status`` do not: the word that counts is the last one.
    """
    last = re.split(r"[\\/]", name[-200:])[-1]
    return _SECRET_NAME.search(_OTHER.sub("_", last.lower()).strip("_")) is not None


def is_flag(value: Any) -> bool:
    """Whether a value only says yes or no; ``clear_text_password`` of osquery is such a column."""
    return str(value).strip().lower() in _FLAGS if value is not None else True


def never_columns(query: str) -> Set[str]:
    """The columns never stored of a query that is known by its name only; ``{"*"}`` stands for all of them."""
    plain = _OTHER.sub("_", query.lower())
    if _BROWSING.search(plain):
        return {"*"}
    return {column for table, columns in _BY_NAME.items() if mentions(plain, table) for column in columns}


def mentions(query: str, table: str) -> bool:
    """Whether a query's name has a table's name in it as words of its own, as names of foreign queries often do."""
    return f"_{table}_" in f"_{_OTHER.sub('_', query.lower())}_"


def needles_in(text: str) -> Sequence[str]:
    """The needles of a text; ``redact`` changes no text without one."""
    low = text.lower()
    return [needle for needle in NEEDLES if needle in low]


def redact(text: str) -> str:
    """Return ``text`` with what looks like a secret cut out: private keys, passwords, tokens, password hashes."""
    return _SECRETS.sub(_cut, text) if needles_in(text) else text


def _cut(match: re.Match[str]) -> str:
    kept = "".join(match[group] or "" for group in _KEPT)
    quote = match["q1"] or match["q2"] or match["q3"] or ""
    return f"{kept}{quote}{REDACTED}"
