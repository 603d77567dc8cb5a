"""Applications, packages, browsers and their extensions."""

from __future__ import annotations

from server.simulate.areas.accounts import OWNER_ID
from server.simulate.areas.shared import a_file
from server.simulate.facts import FACTS, Rows
from server.simulate.judging import ERROR, FAIL, PASS, Finding, Judges, by
from server.simulate.models import LINUX_PACKAGES, PROHIBITED, Release
from server.simulate.presence import DAY
from server.simulate.state import State
from server.simulate.traits import EVERYWHERE, LAPTOP, Trait

TRAITS = (
    Trait("browser", "current", ("old", "unversioned"), EVERYWHERE, LAPTOP),
    Trait("extension", "allowed", ("denied", "other"), EVERYWHERE, LAPTOP),
    Trait("inventory", "complete", ("nameless",), ("darwin", "windows")),
)


def _nameless(state: State) -> bool:
    return state.platform != "linux" and state["inventory"] == "nameless"


def _inventory(state: State) -> Finding:
    return (FAIL, "a program has no name") if _nameless(state) else (PASS, "every program has a name")


def _prohibited(state: State) -> Finding:
    if any(name == PROHIBITED.name for name, *_ in state.software):
        return FAIL, f"{PROHIBITED.name} is installed"
    if state.platform == "windows" and _nameless(state):
        return ERROR, "a program without a name may be anything"
    return PASS, "nothing prohibited is installed"


JUDGES: Judges = {
    "software-inventory-complete": _inventory,
    "prohibited-software-absent": _prohibited,
    "browser-version-supported": by(
        "browser",
        current=(PASS, "the browsers get patches"),
        old=(FAIL, "Chrome is too old"),
        unversioned=(ERROR, "Chrome has no version"),
    ),
    "denied-extensions-absent": by(
        "extension",
        allowed=(PASS, "no extension is denied"),
        denied=(FAIL, "an extension is denied"),
        other=(PASS, "no extension is denied"),
    ),
    "browser-extensions-approved": by(
        "extension",
        allowed=(PASS, "every extension is allowed"),
        denied=(FAIL, "an extension is denied"),
        other=(FAIL, "an extension is not on the list"),
    ),
}
Installed = tuple[tuple[str, str, str], ...]
_EXTENSIONS = {
    "allowed": ("ghbmnnjooekpmoecnnnilnnbdlolhkhi", "Google Docs Offline", "1.95.1"),
    "denied": ("gkojfkhlekighikafcpjkiklfbnlmeio", "Hola VPN", "1.240.1"),
    "other": ("cjpalhdlnbpafiamejdnhcphjbkeiagm", "uBlock Origin", "1.66.4"),
}


@FACTS.table("apps", "darwin")
def apps(software: Installed, release: Release, inventory: str) -> Rows:
    """Applications, those of the system included."""
    system = ("Safari", "Mail", "Terminal", "TextEdit", "Preview", "Calendar", "Music", "Notes", "Photos", "Maps")
    found = [(name, f"com.apple.{name}", release.version, "/System/Applications") for name in system]
    found += [(name, identifier, version, "/Applications") for name, identifier, version in software]
    rows: Rows = [
        {
            "name": f"{name}.app",
            "path": f"{folder}/{name}.app",
            "bundle_identifier": identifier,
            "bundle_short_version": version,
            "bundle_version": version,
            "last_opened_time": "",
        }
        for name, identifier, version, folder in found
    ]
    if inventory == "nameless":
        rows.append({"name": "", "path": "/Applications/.app", "bundle_identifier": "com.example.helper"})
    return rows


@FACTS.table("programs", "windows")
def programs(software: Installed, release: Release, inventory: str) -> Rows:
    """Programs that registered an uninstaller."""
    found = [("Microsoft Edge", "", "142.0.3595.80"), ("Microsoft Visual C++ 2022 X64 Runtime", "", "14.44.35211")]
    found += [("PowerShell 7-x64", "", "7.5.4.0"), ("Windows Update Health Tools", "", f"5.{release.revision}.0.0")]
    found += [("", "com.example.helper", "1.0")] if inventory == "nameless" else []
    return [
        {
            "name": name,
            "version": version,
            "publisher": (identifier.split(".")[1] if identifier else "Microsoft Corporation"),
            "install_location": f"C:\\Program Files\\{name}",
            "install_date": "20260305",
            "identifying_number": "",
        }
        for name, identifier, version in [*found, *software]
    ]


@FACTS.table("deb_packages", "linux")
def deb_packages(release: Release, kind: str, software: Installed) -> Rows:
    """Packages; the kernel and libc move with the release."""
    names = "apt base-files bash chrony coreutils curl dpkg gzip libc6 libssl3 openssh-server perl-base python3 sudo"
    names += " systemd tar tzdata util-linux zlib1g"
    names += " nginx postgresql-client" if kind == "server" else " gnome-shell network-manager"
    moving = {"base-files", "libc6", "systemd", "openssh-server", "libssl3"}
    found = [
        (name, f"{release.major}.{release.patch + release.minor if name in moving else 1}-2") for name in names.split()
    ]
    found += [(LINUX_PACKAGES.get(name, name.lower()), version) for name, _, version in software]
    return [
        {
            "name": name,
            "version": version,
            "source": name,
            "size": 900 + 13 * at,
            "arch": "amd64",
            "revision": "2",
            "status": "install ok installed",
        }
        for at, (name, version) in enumerate(found)
    ]


@FACTS.table("file", "linux")
def package_files(system_update: str, week: int, long_ago: int) -> Rows:
    """dpkg's list, which changes with every package, and apt."""
    changed = week if system_update == "recent" else long_ago
    return [a_file("/var/lib/dpkg/status", size=812_345, mtime=changed * DAY), a_file("/usr/bin/apt-get", size=51_816)]


@FACTS.table("chrome_extensions")
def chrome_extensions(platform: str, kind: str, extension: str) -> Rows:
    """Extensions of the owner's Chrome."""
    if kind == "server":
        return []
    names = ["allowed"] if extension == "allowed" else ["allowed", extension]
    return [
        {"browser_type": "chrome", "uid": OWNER_ID[platform], "name": name, "identifier": identifier,
         "referenced_identifier": identifier, "version": version, "referenced": 1, "from_webstore": "true",
         "state": "1"}
        for identifier, name, version in map(_EXTENSIONS.__getitem__, names)
    ]  # fmt: skip


@FACTS.table("homebrew_packages", "darwin")
def homebrew_packages(kind: str) -> Rows:
    """Command line programs."""
    if kind == "server":
        return []
    found = (("git", "2.51.2"), ("jq", "1.8.1"), ("openssl@3", "3.6.0"))
    return [{"name": name, "version": version, "type": "formula", "prefix": "/opt/homebrew"} for name, version in found]


@FACTS.table("chocolatey_packages", "windows")
def chocolatey_packages(kind: str) -> Rows:
    """Packages of Chocolatey, on servers."""
    return [{"name": "7zip", "version": "25.1.0"}] if kind == "server" else []
