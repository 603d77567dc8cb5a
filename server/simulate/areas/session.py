"""Screen locks and automatic logins."""

from __future__ import annotations

from server.simulate.areas.shared import a_file, registry, setting
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, NOT_APPLICABLE, PASS, Finding, Judges, by
from server.simulate.presence import DAY
from server.simulate.state import State
from server.simulate.traits import LAPTOP, Trait

TRAITS = (
    Trait("screen_lock", "on", ("off", "unknown"), ("darwin", "windows")),
    Trait("screen_lock", "on", ("off", "unknown"), ("linux",), LAPTOP),
    Trait("lock_delay", "short", ("long",), ("darwin", "windows")),
    Trait("auto_login", "off", ("on", "unknown"), ("windows",)),
    Trait("auto_login", "off", ("on",), ("darwin",)),
)


def _locks(state: State) -> Finding:
    if state.platform == "linux" and state.kind == "server":
        return NOT_APPLICABLE, "there is no desktop"
    return {
        "on": (PASS, "the screen locks"),
        "off": (FAIL, "the screen does not lock"),
        "unknown": (ERROR, "the system does not say whether its screen locks"),
    }[state["screen_lock"]]


def _timely(state: State) -> Finding:
    status, why = _locks(state)
    if status != PASS:
        return status, why
    if state.platform != "linux" and state["lock_delay"] == "long":
        return FAIL, "the screen locks late"
    return PASS, "the screen locks in good time"


JUDGES: Judges = {
    "screen-lock-required": _locks,
    "screen-lock-timely": _timely,
    "auto-login-off": by(
        "auto_login",
        off=(PASS, "nobody is logged in unasked"),
        on=(FAIL, "somebody is logged in unasked"),
        unknown=(ERROR, "Windows does not say whether somebody is logged in unasked"),
    ),
}
SECONDS = {"short": 600, "long": 3600}
_PROFILE = "51eec44d50e4f6ec4ba887f1420077e60170a936f71d1a677bbab90b5d4b4bcd"
_SETTINGS = "f2137628c0e8b0a63ce89fde373e1422d379434498c2393df3f9e1d346a77876"
_LOCKS = "70cec7303c5e31d8080b6d37b4b5b2779ca7d38797ecda3f39f12f534cc917b5"
_DATABASE = "/etc/dconf/db/local"


@FACTS.table("managed_policies", "darwin")
def screen_profile(screen_lock: str, lock_delay: str, mdm: str) -> Rows:
    """The profile that sets the screen lock."""
    if screen_lock == "unknown":
        return []
    values = {"askForPassword": int(screen_lock == "on"), "askForPasswordDelay": 5, "idleTime": SECONDS[lock_delay]}
    return [
        {"domain": "com.apple.screensaver", "name": name, "value": value, "username": "",
         "manual": int(mdm == "by_hand")}
        for name, value in values.items()
    ]  # fmt: skip


@FACTS.table("screenlock", "darwin")
def screenlock(screen_lock: str) -> Rows:
    """What the logged-in account has set."""
    return [] if screen_lock == "unknown" else [{"enabled": int(screen_lock == "on"), "grace_period": 5}]


@FACTS.table("registry", "windows")
def screen_values(screen_lock: str, lock_delay: str) -> Rows:
    """The limit of the device, and the screen saver of a person."""
    if screen_lock == "unknown":
        return []
    system = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\System"
    person = "HKEY_USERS\\S-1-5-21-1004336348-1177238915-682003330-1001\\Control Panel\\Desktop"
    return [
        registry(system, "InactivityTimeoutSecs", SECONDS[lock_delay] if screen_lock == "on" else 0),
        registry(person, "ScreenSaveActive", "0", "REG_SZ"),
        registry(person, "ScreenSaverIsSecure", "0", "REG_SZ"),
    ]


@FACTS.table("registry", "windows")
def logon_values(auto_login: str) -> Rows:
    """The logon program's settings."""
    if auto_login == "unknown":
        return []
    key = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\Winlogon"
    return [
        registry(key, "Shell", "explorer.exe", "REG_SZ"),
        registry(key, "AutoAdminLogon", int(auto_login == "on"), "REG_SZ"),
    ]


@FACTS.table("plist", "darwin")
def auto_login_user(auto_login: str) -> Rows:
    """The account that is logged in unasked."""
    if auto_login == "off":
        return []
    return [{"path": "/Library/Preferences/com.apple.loginwindow.plist", "key": "autoLoginUser", "value": "kiosk"}]


@FACTS.table("file", "linux")
def desktop_files(kind: str, screen_lock: str, long_ago: int) -> Rows:
    """GNOME, and the company's files for it."""
    if kind == "server":
        return []
    found = ["/usr/share/xsessions/ubuntu.desktop", "/usr/share/wayland-sessions/ubuntu.desktop"]
    found += ["/usr/bin/gnome-shell", "/etc/gdm3/custom.conf"]
    if screen_lock != "unknown":
        found += [f"{_DATABASE}.d/00-screen-lock", f"{_DATABASE}.d/locks/00-screen-lock", _DATABASE]
    return [a_file(path, mtime=long_ago * DAY) for path in found]


@FACTS.table("hash", "linux")
def desktop_hashes(kind: str, screen_lock: str) -> Rows:
    """What is in those files."""
    if kind == "server" or screen_lock == "unknown":
        return []
    settings = _SETTINGS if screen_lock == "on" else "0" * 64
    found = {"profile/user": _PROFILE, "db/local.d/00-screen-lock": settings, "db/local.d/locks/00-screen-lock": _LOCKS}
    return [{"path": f"/etc/dconf/{name}", "sha256": sha256} for name, sha256 in found.items()]


@FACTS.table("augeas", "linux")
def display_manager(kind: str) -> Rows:
    """The login screen's settings."""
    if kind == "server":
        return []
    return [setting("/etc/gdm3/custom.conf", "daemon/AutomaticLoginEnable", "false")]
