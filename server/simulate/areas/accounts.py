"""Local accounts: who there is, who administers, who logs in."""

from __future__ import annotations

from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, PASS, Finding, Judges, by
from server.simulate.presence import DAY
from server.simulate.state import State
from server.simulate.traits import EVERYWHERE, LAPTOP, Trait

TRAITS = (
    Trait("administrators", "built_in", ("owner",), EVERYWHERE, LAPTOP),
    Trait("trainee", "none", ("dormant", "unknown"), ("darwin", "linux")),
)
"""``trainee`` is an account nobody has used since it was made; whether for long the records may not say."""

ROOT_HOME = {"darwin": "/var/root", "linux": "/root"}
_DOMAIN = "S-1-5-21-1004336348-1177238915-682003330"
_COLUMNS = ("uid", "gid", "username", "description", "directory", "shell")
_MAC_ACCOUNTS = (
    (0, 0, "root", "System Administrator", ROOT_HOME["darwin"], "/bin/sh"),
    (1, 1, "daemon", "System Services", "/var/root", "/usr/bin/false"),
    (4_294_967_294, 4_294_967_294, "nobody", "Unprivileged User", "/var/empty", "/usr/bin/false"),
    (65, 65, "_mdnsresponder", "mDNSResponder", "/var/empty", "/usr/bin/false"),
    (201, 201, "Guest", "Guest User", "/Users/Guest", "/bin/bash"),
    (248, 248, "_mbsetupuser", "Setup User", "/var/setup", "/bin/bash"),
)
_LINUX_ACCOUNTS = (
    (0, 0, "root", "root", ROOT_HOME["linux"], "/bin/bash"),
    (1, 1, "daemon", "daemon", "/usr/sbin", "/usr/sbin/nologin"),
    (5, 60, "games", "games", "/usr/games", "/usr/sbin/nologin"),
    (33, 33, "www-data", "www-data", "/var/www", "/usr/sbin/nologin"),
    (65_534, 65_534, "nobody", "nobody", "/nonexistent", "/usr/sbin/nologin"),
    (997, 997, "_chrony", "Chrony daemon,,,", "/var/lib/chrony", "/usr/sbin/nologin"),
)
OWNER_ID = {"darwin": 501, "linux": 1000, "windows": 1001}
_TRAINEE_ID = {"darwin": 502, "linux": 1001}


def _guest(state: State) -> Finding:
    if state.guest_unset and state.platform == "darwin":
        return ERROR, "nobody ever touched the switch for guests, so the Mac cannot tell"
    return (FAIL, "guests may log in") if state.guest else (PASS, "guests may not log in")


def _root(state: State) -> Finding:
    return (FAIL, "toor has user id 0 beside root") if state.second_root else (PASS, "only root has user id 0")


def _administrators(state: State) -> Finding:
    if state.second_root:
        return FAIL, "toor is an administrator beside root"
    owner = state["administrators"] == "owner"
    return (FAIL, "the owner administers the machine") if owner else (PASS, "only the built-in account administers")


def _at_work(state: State) -> Finding:
    if state.second_root:
        return FAIL, "toor has user id 0, so what root runs is run by an administrator"
    if state.kind == "laptop" and state["administrators"] == "owner":
        return FAIL, "the owner works with the rights of an administrator"
    return PASS, "nobody works with the rights of an administrator"


JUDGES: Judges = {
    "guest-account-off": _guest,
    "only-root-has-uid-0": _root,
    "local-admins-approved": _administrators,
    "daily-work-without-admin-rights": _at_work,
    "no-dormant-accounts": by(
        "trainee",
        none=(PASS, "every account is used"),
        dormant=(FAIL, "trainee has not logged in for months"),
        unknown=(ERROR, "the records do not say when trainee logged in"),
    ),
}


@FACTS.table("users", "darwin", "linux")
def unix_users(platform: str, kind: str, owner: str, second_root: bool, trainee: str) -> Rows:
    """Local accounts; a second root is named toor."""
    mac = platform == "darwin"
    accounts = list(_MAC_ACCOUNTS if mac else _LINUX_ACCOUNTS)
    home, first, group = ("/Users", 501, 20) if mac else ("/home", 1000, 1000)
    if kind == "laptop":
        accounts.append((first, group, owner, owner.title(), f"{home}/{owner}", "/bin/zsh"))
    if trainee != "none":
        accounts.append((_TRAINEE_ID[platform], group, "trainee", "Trainee", f"{home}/trainee", "/bin/zsh"))
    if second_root:
        accounts.append((0, 0, "toor", "Rescue", ROOT_HOME[platform], "/bin/sh"))
    remote = {} if mac else {"include_remote": 1}  # the same, with or without those of a directory
    return [{**dict(zip(_COLUMNS, account, strict=True)), "is_hidden": 0, **remote} for account in accounts]


@FACTS.table("users", "windows")
def windows_users(kind: str, owner: str) -> Rows:
    """Local and service accounts."""
    accounts = [
        (18, 18, "SYSTEM", "", "%systemroot%\\system32\\config\\systemprofile", "S-1-5-18", "special"),
        (19, 19, "LOCAL SERVICE", "", "%systemroot%\\ServiceProfiles\\LocalService", "S-1-5-19", "special"),
        (500, 544, "Administrator", "Built-in account for administering the computer", "", f"{_DOMAIN}-500", "local"),
        (501, 546, "Guest", "Built-in account for guest access", "", f"{_DOMAIN}-501", "local"),
    ]
    if kind == "laptop":
        accounts.append((1001, 544, owner, owner.title(), f"C:\\Users\\{owner}", f"{_DOMAIN}-1001", "local"))
    columns = ("uid", "gid", "username", "description", "directory", "uuid", "type")
    shell = "C:\\Windows\\system32\\cmd.exe"
    return [{**dict(zip(columns, account, strict=True)), "shell": shell} for account in accounts]


@FACTS.table("groups")
def groups(platform: str) -> Rows:
    """The administrators' group, and that of root."""
    found = {
        "darwin": ((0, "wheel", ""), (80, "admin", "")),
        "linux": ((0, "root", ""), (27, "sudo", "")),
        "windows": ((544, "Administrators", "S-1-5-32-544"), (546, "Guests", "S-1-5-32-546")),
    }
    return [{"gid": gid, "groupname": name, "group_sid": sid} for gid, name, sid in found[platform]]


@FACTS.table("user_groups")
def user_groups(platform: str, kind: str, administrators: str) -> Rows:
    """Who is in the administrators' group."""
    gid, root = {"darwin": (80, 0), "linux": (27, 0), "windows": (544, 500)}[platform]
    members = [root]
    if kind == "laptop" and administrators == "owner":
        members.append(OWNER_ID[platform])
    return [{"uid": uid, "gid": gid} for uid in members]


@FACTS.table("plist", "darwin")
def guest_switch(guest: bool, guest_unset: bool) -> Rows:
    """The login window's settings."""
    path = "/Library/Preferences/com.apple.loginwindow.plist"
    rows: Rows = [{"path": path, "key": "SHOWFULLNAME", "subkey": "", "value": 0}]
    if not guest_unset:
        rows.append({"path": path, "key": "GuestEnabled", "subkey": "", "value": int(guest)})
    return rows


@FACTS.table("logged_in_users")
def logged_in_users(platform: str, kind: str, owner: str) -> Rows:
    """A laptop's owner is at work."""
    word = "active" if platform == "windows" else "user"
    return [{"type": word, "user": owner, "tty": "console", "host": ""}] if kind == "laptop" else []


@FACTS.table("logon_sessions", "windows")
def logon_sessions(kind: str, owner: str) -> Rows:
    """Sessions of Windows itself, and the owner's."""
    users = ["DWM-1", owner] if kind == "laptop" else ["DWM-1"]
    return [{"user": user, "logon_type": "Interactive", "logon_id": at} for at, user in enumerate(users, 1)]


@FACTS.table("last", "darwin", "linux")
def last(trainee: str, week: int, long_ago: int) -> Rows:
    """The records of logins: where they begin, and root's last one."""
    begin = week if trainee == "unknown" else long_ago
    return [
        {"username": "", "type": 2, "type_name": "boot-time", "time": begin * DAY},
        {"username": "root", "type": 7, "type_name": "user-process", "time": week * DAY},
    ]


@FACTS.table("account_policy_data", "darwin")
def account_policy_data(long_ago: int) -> Rows:
    """When accounts were made."""
    return [
        {"uid": uid, "creation_time": (long_ago - 200) * DAY, "password_last_set_time": (long_ago - 100) * DAY,
         "failed_login_count": 0}
        for uid in (0, 501, 502)
    ]  # fmt: skip
