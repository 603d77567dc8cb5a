"""Rows of the tables of macOS and Linux."""

from __future__ import annotations

from server.simulate.facts import FACTS, Rows
from server.simulate.models import Release

MAPPED_ROOT = "/dev/mapper/vg-root"
PLAIN_ROOT = "/dev/vda1"

_MAC_ACCOUNTS = (
    (0, 0, "root", "System Administrator", "/var/root", "/bin/sh"),
    (1, 1, "daemon", "System Services", "/var/root", "/usr/bin/false"),
    (4_294_967_294, 4_294_967_294, "nobody", "Unprivileged User", "/var/empty", "/usr/bin/false"),
    (65, 65, "_mdnsresponder", "mDNSResponder", "/var/empty", "/usr/bin/false"),
    (201, 201, "Guest", "Guest User", "/Users/Guest", "/bin/bash"),
    (248, 248, "_mbsetupuser", "Setup User", "/var/setup", "/bin/bash"),
)
_LINUX_ACCOUNTS = (
    (0, 0, "root", "root", "/root", "/bin/bash"),
    (1, 1, "daemon", "daemon", "/usr/sbin", "/usr/sbin/nologin"),
    (33, 33, "www-data", "www-data", "/var/www", "/usr/sbin/nologin"),
    (65_534, 65_534, "nobody", "nobody", "/nonexistent", "/usr/sbin/nologin"),
    (997, 997, "_chrony", "Chrony daemon,,,", "/var/lib/chrony", "/usr/sbin/nologin"),
)
_COLUMNS = ("uid", "gid", "username", "description", "directory", "shell")


@FACTS.table("users", "darwin", "linux")
def users(platform: str, kind: str, owner: str, second_root: bool) -> Rows:
    """Local accounts; a second root is named toor."""
    mac = platform == "darwin"
    accounts = list(_MAC_ACCOUNTS if mac else _LINUX_ACCOUNTS)
    if kind == "laptop":
        home, first = ("/Users", 501) if mac else ("/home", 1000)
        accounts.append((first, 20 if mac else 1000, owner, owner.title(), f"{home}/{owner}", "/bin/zsh"))
    if second_root:
        accounts.append((0, 0, "toor", "Rescue", "/root", "/bin/sh"))
    return [dict(zip(_COLUMNS, account, strict=True)) for account in accounts]


@FACTS.table("mounts", "darwin")
def mac_mounts() -> Rows:
    """The sealed system volume and the data volume."""
    return [
        {"device": "/dev/disk3s1s1", "path": "/", "type": "apfs", "flags": "75550721", "blocks_size": 4096},
        {"device": "/dev/disk3s5", "path": "/System/Volumes/Data", "type": "apfs", "flags": "76582912"},
        {"device": "devfs", "path": "/dev", "type": "devfs", "flags": "72368128"},
    ]


@FACTS.table("disk_encryption", "darwin")
def mac_disk_encryption(encrypted: bool) -> Rows:
    """FileVault. APFS on Apple silicon is always encrypted; whether a password guards the key is the question."""
    status = "on" if encrypted else "off"
    return [
        {
            "name": name,
            "uuid": f"6C0F4A3E-0000-4000-8000-{at:012}",
            "encrypted": int(encrypted),
            "type": "APFS Encryption" if encrypted else "",
            "encryption_status": "encrypted" if encrypted else "not encrypted",
            "filevault_status": status,
        }
        for at, name in enumerate(("/dev/disk3s1s1", "/dev/disk3s5"))
    ]


@FACTS.table("plist", "darwin")
def plist(guest: bool, guest_unset: bool) -> Rows:
    """The login window's settings."""
    path = "/Library/Preferences/com.apple.loginwindow.plist"
    rows: Rows = [{"path": path, "key": "SHOWFULLNAME", "subkey": "", "value": 0}]
    if not guest_unset:
        rows.append({"path": path, "key": "GuestEnabled", "subkey": "", "value": int(guest)})
    return rows


@FACTS.table("apps", "darwin")
def apps(software: tuple[tuple[str, str, str], ...], release: Release) -> Rows:
    """Applications, those of the system included."""
    system = ("Safari", "Mail", "Terminal", "TextEdit", "Preview", "Calendar", "Music", "Notes", "Photos", "Maps")
    found = [(name, f"com.apple.{name}", release.version, "/System/Applications") for name in system]
    found += [(name, identifier, version, "/Applications") for name, identifier, version in software]
    return [
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


@FACTS.table("mounts", "linux")
def linux_mounts(encrypted: bool) -> Rows:
    """The root file system: on LUKS where it is encrypted."""
    root = MAPPED_ROOT if encrypted else PLAIN_ROOT
    return [
        {"device": root, "device_alias": root, "path": "/", "type": "ext4", "flags": "rw,relatime"},
        {"device": "proc", "device_alias": "proc", "path": "/proc", "type": "proc", "flags": "rw,nosuid"},
        {"device": "/dev/vda2", "device_alias": "/dev/vda2", "path": "/boot", "type": "ext4", "flags": "rw,relatime"},
    ]


@FACTS.table("disk_encryption", "linux")
def linux_disk_encryption(encrypted: bool) -> Rows:
    """Every block device; what lies on an encrypted one is encrypted."""
    devices = [("/dev/vda", False), (PLAIN_ROOT, encrypted), ("/dev/vda2", False)]
    if encrypted:
        devices.append((MAPPED_ROOT, True))
    return [
        {
            "name": name,
            "uuid": "",
            "encrypted": int(locked),
            "type": "CRYPT_LUKS2" if locked else "",
            "encryption_status": "encrypted" if locked else "not encrypted",
        }
        for name, locked in devices
    ]


@FACTS.table("file", "linux")
def linux_files() -> Rows:
    """The files that packs look for before they run."""
    return [
        {"path": "/var/lib/dpkg/status", "directory": "/var/lib/dpkg", "filename": "status", "size": 812_345},
        {"path": "/etc/passwd", "directory": "/etc", "filename": "passwd", "size": 1840},
    ]


@FACTS.table("deb_packages", "linux")
def deb_packages(release: Release, kind: str) -> Rows:
    """Packages; the kernel and libc move with the release."""
    names = "apt base-files bash chrony coreutils curl dpkg gzip libc6 libssl3 openssh-server perl-base python3 sudo"
    names += " systemd tar tzdata util-linux zlib1g"
    names += " nginx postgresql-client" if kind == "server" else " gnome-shell firefox network-manager"
    moving = {"base-files", "libc6", "systemd", "openssh-server", "libssl3"}
    return [
        {
            "name": name,
            "version": f"{release.major}.{release.patch + release.minor if name in moving else 1}-2",
            "source": name,
            "size": 900 + 13 * at,
            "arch": "amd64",
            "revision": "2",
            "status": "install ok installed",
        }
        for at, name in enumerate(names.split())
    ]
