"""Passwords and their rules, keys, and how one becomes an administrator."""

from __future__ import annotations

from server.simulate.areas.accounts import OWNER_ID, ROOT_HOME
from server.simulate.areas.shared import a_file, registry, setting
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, NOT_APPLICABLE, PASS, Finding, Judges, by
from server.simulate.state import State
from server.simulate.traits import EVERYWHERE, LAPTOP, SERVER, Trait

TRAITS = (
    Trait("passwords", "long", ("short", "unknown"), EVERYWHERE),
    Trait("lockout", "on", ("off", "unknown"), ("linux", "windows")),
    Trait("empty_passwords", "none", ("one", "unread"), ("linux", "windows")),
    Trait("elevation", "asks", ("silent", "unread"), ("darwin", "windows")),
    Trait("elevation", "asks", ("silent", "unread", "absent"), ("linux",)),
    Trait("ssh_key", "encrypted", ("plain", "unknown"), EVERYWHERE, LAPTOP),
    Trait("root_key", "none", ("unknown",), ("darwin", "linux"), SERVER),
    Trait("password_manager", "installed", ("missing",), EVERYWHERE, LAPTOP),
)


def _manager(state: State) -> Finding:
    if state.kind == "server":
        return FAIL, "nobody keeps passwords on a server"
    installed = state["password_manager"] == "installed"
    return (PASS, "1Password is installed") if installed else (FAIL, "there is no password manager")


JUDGES: Judges = {
    "password-length-enforced": by(
        "passwords",
        long=(PASS, "passwords must be long"),
        short=(FAIL, "passwords may be short"),
        unknown=(ERROR, "the system does not say how long passwords must be"),
    ),
    "account-lockout-on": by(
        "lockout",
        on=(PASS, "wrong passwords lock the account"),
        off=(FAIL, "one may try passwords for ever"),
        unknown=(ERROR, "the system does not say how many wrong passwords lock an account"),
    ),
    "no-empty-passwords": by(
        "empty_passwords",
        none=(PASS, "nobody logs in without a password"),
        one=(FAIL, "one may log in without a password"),
        unread=(ERROR, "the list of passwords cannot be read"),
    ),
    "elevation-asks-for-password": by(
        "elevation",
        asks=(PASS, "who wants more rights is asked"),
        silent=(FAIL, "one gets more rights without being asked"),
        unread=(ERROR, "nobody can say who is asked"),
        absent=(NOT_APPLICABLE, "there is no sudo"),
    ),
    "ssh-private-keys-encrypted": by(
        "ssh_key",
        encrypted=(PASS, "every key has a passphrase"),
        plain=(FAIL, "a key has no passphrase"),
        unknown=(ERROR, "nobody can say whether a key has a passphrase"),
    ),
    "ssh-authorized-keys-known": by(
        "root_key", none=(PASS, "nobody logs in by key"), unknown=(FAIL, "a key nobody knows opens root's account")
    ),
    "password-manager-installed": _manager,
}
MIN_LENGTH, SHORT = 14, 6
ROOT_KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIE1vYmlsZSBwaG9uZSBvZiBub2JvZHkga25vd24h"
"""The public key that opens the root account of a few servers."""


@FACTS.table("security_profile_info", "windows")
def security_profile_info(guest: bool, passwords: str, lockout: str) -> Rows:
    """The security policy in force; -1 is what it does not define."""
    return [
        {
            "minimum_password_length": {"long": MIN_LENGTH, "short": SHORT, "unknown": -1}[passwords],
            "password_complexity": 1,
            "clear_text_password": 0,
            "lockout_bad_count": {"on": 5, "off": 0, "unknown": -1}[lockout],
            "new_administrator_name": "Administrator",
            "new_guest_name": "Guest",
            "enable_admin_account": 0,
            "enable_guest_account": int(guest),
        }
    ]


@FACTS.table("password_policy", "darwin")
def password_policy(passwords: str) -> Rows:
    """The rules of the device."""
    rule = {"long": f"'.{{{MIN_LENGTH},}}'", "unknown": "'^(?=.*[0-9]).+$'"}.get(passwords)
    if rule is None:
        return []
    return [
        {"uid": -1, "policy_identifier": "ProfilePayload:length", "policy_category": "policyCategoryPasswordContent",
         "policy_content": f"policyAttributePassword matches {rule}"}
    ]  # fmt: skip


@FACTS.table("augeas", "linux")
def pam(passwords: str, lockout: str) -> Rows:
    """PAM's files."""
    rows = [setting("/etc/pam.d/common-password", "1/module", "pam_pwquality.so")]
    if passwords != "unknown":
        length = MIN_LENGTH if passwords == "long" else SHORT
        rows.append(setting("/etc/pam.d/common-password", "1/argument[1]", f"minlen={length}"))
    if lockout != "off":
        rows.append(setting("/etc/pam.d/common-auth", "1/module", "pam_faillock.so"))
    if lockout == "on":
        rows.append(setting("/etc/pam.d/common-auth", "1/argument[1]", "deny=5"))
    return list(rows)


@FACTS.table("shadow", "linux")
def shadow(kind: str, owner: str, empty_passwords: str, trainee: str, long_ago: int) -> Rows:
    """How accounts are locked, readable by root only."""
    if empty_passwords == "unread":
        return []
    found = [("root", "locked"), ("daemon", "locked"), ("www-data", "locked"), ("nobody", "locked")]
    found.append(("games", "empty" if empty_passwords == "one" else "locked"))
    found += [(owner, "active")] if kind == "laptop" else []
    found += [("trainee", "active")] if trainee != "none" else []
    return [{"username": name, "password_status": word, "last_change": long_ago - 100, "expire": -1}
            for name, word in found]  # fmt: skip


@FACTS.table("registry", "windows")
def elevation_policy(elevation: str, empty_passwords: str) -> Rows:
    """User Account Control, and the use of accounts without a password."""
    rows: Rows = []
    key = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\System"
    if elevation != "unread":
        rows.append(registry(key, "EnableLUA", 1))
        rows.append(registry(key, "ConsentPromptBehaviorAdmin", 0 if elevation == "silent" else 5))
    if empty_passwords != "unread":
        lsa = "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Control\\Lsa"
        rows.append(registry(lsa, "LimitBlankPasswordUse", int(empty_passwords == "none")))
    return rows


@FACTS.table("file", "darwin", "linux")
def sudoers_file(elevation: str) -> Rows:
    """The file of sudo's rules, where sudo is installed."""
    return [] if elevation == "absent" else [a_file("/etc/sudoers")]


@FACTS.table("sudoers", "darwin", "linux")
def sudoers(platform: str, elevation: str) -> Rows:
    """sudo's rules."""
    if elevation in ("unread", "absent"):
        return []
    group = "%admin" if platform == "darwin" else "%sudo"
    found = [("Defaults", "env_reset"), ("root", "ALL=(ALL:ALL) ALL"), (group, "ALL=(ALL:ALL) ALL")]
    found += [("%deploy", "ALL=(ALL) NOPASSWD: ALL")] if elevation == "silent" else []
    return [{"source": "/etc/sudoers", "header": header, "rule_details": rule} for header, rule in found]


@FACTS.table("user_ssh_keys")
def user_ssh_keys(platform: str, kind: str, owner: str, ssh_key: str) -> Rows:
    """The owner's key."""
    if kind == "server":
        return []
    home = {"darwin": f"/Users/{owner}/", "linux": f"/home/{owner}/", "windows": f"C:\\Users\\{owner}\\"}[platform]
    locked = {"encrypted": 1, "plain": 0, "unknown": None}[ssh_key]
    return [{"uid": OWNER_ID[platform], "path": f"{home}.ssh/id_ed25519", "encrypted": locked, "key_type": "ed25519"}]


@FACTS.table("authorized_keys", "darwin", "linux")
def authorized_keys(platform: str, root_key: str) -> Rows:
    """Keys that open root's account."""
    if root_key == "none":
        return []
    key_file = f"{ROOT_HOME[platform]}/.ssh/authorized_keys"
    return [{"uid": 0, "algorithm": "ssh-ed25519", "key": ROOT_KEY, "key_file": key_file}]
