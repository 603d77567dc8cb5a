"""What devices are made of: sites, hardware, releases and software. Made up, but of a plausible kind."""

from __future__ import annotations

from dataclasses import dataclass

PLATFORM_TYPES = {"darwin": "21", "linux": "9", "windows": "2"}
"""osquery's platform mask, as text."""


@dataclass(frozen=True, slots=True)
class Site:
    """An office: where its people's working day lies on the clock of UTC, in seconds after midnight."""

    name: str
    opens: int
    closes: int


SITES = (Site("ber", 27_000, 59_400), Site("nyc", 47_700, 79_200), Site("blr", 11_700, 45_000))


@dataclass(frozen=True, slots=True)
class Model:
    """A hardware model."""

    vendor: str
    model: str
    cpu: str
    cores: int
    memory: int
    """Bytes."""


GIB = 1024**3
MODELS: dict[tuple[str, str], tuple[Model, ...]] = {
    ("darwin", "laptop"): (
        Model("Apple Inc.", "Mac14,2", "Apple M2", 8, 16 * GIB),
        Model("Apple Inc.", "Mac15,6", "Apple M3 Pro", 12, 36 * GIB),
        Model("Apple Inc.", "MacBookPro18,3", "Apple M1 Pro", 10, 16 * GIB),
    ),
    ("darwin", "server"): (Model("Apple Inc.", "Mac14,3", "Apple M2", 8, 24 * GIB),),
    ("windows", "laptop"): (
        Model("LENOVO", "21HM", "Intel(R) Core(TM) Ultra 7 165U", 12, 32 * GIB),
        Model("Dell Inc.", "Latitude 7440", "13th Gen Intel(R) Core(TM) i7-1365U", 10, 16 * GIB),
    ),
    ("windows", "server"): (Model("Microsoft Corporation", "Virtual Machine", "AMD EPYC 7763", 8, 64 * GIB),),
    ("linux", "laptop"): (Model("Framework", "Laptop 13", "AMD Ryzen 7 7840U", 8, 32 * GIB),),
    ("linux", "server"): (
        Model("QEMU", "Standard PC (Q35 + ICH9, 2009)", "AMD EPYC 7763", 4, 16 * GIB),
        Model("Dell Inc.", "PowerEdge R650", "Intel(R) Xeon(R) Gold 6338", 32, 256 * GIB),
    ),
}


@dataclass(frozen=True, slots=True)
class Release:
    """An operating system's release, as ``os_version`` tells it."""

    name: str
    version: str
    major: int
    minor: int
    patch: int
    build: str
    platform: str
    platform_like: str
    codename: str
    revision: int = 0


def _macos(major: int, minor: int, build: str, patch: int = 0) -> Release:
    version = f"{major}.{minor}.{patch}" if patch else f"{major}.{minor}"
    return Release("macOS", version, major, minor, patch, build, "darwin", "darwin", "")


def _windows(name: str, build: int, revision: int) -> Release:
    return Release(name, f"10.0.{build}", 10, 0, 0, str(build), "windows", "windows", "", revision)


def _ubuntu(version: str, codename: str, patch: int) -> Release:
    major, minor = version.split(".")
    text = f"{version}.{patch} LTS ({codename})"
    return Release("Ubuntu", text, int(major), int(minor), patch, "", "ubuntu", "debian", codename.split()[0].lower())


def _debian(major: int, minor: int, codename: str) -> Release:
    return Release("Debian GNU/Linux", f"{major} ({codename})", major, minor, 0, "", "debian", "", codename)


W11, S22 = "Microsoft Windows 11 Enterprise", "Microsoft Windows Server 2022 Datacenter"
RELEASES: dict[tuple[str, str], tuple[Release, ...]] = {
    ("darwin", "laptop"): (_macos(26, 1, "25B78"), _macos(26, 1, "25B90", 1), _macos(26, 2, "25C56")),
    ("darwin", "server"): (_macos(15, 7, "24G222", 2), _macos(15, 7, "24G301", 3)),
    ("windows", "laptop"): tuple(_windows(W11, 26_200, revision) for revision in (6899, 7171, 7462)),
    ("windows", "server"): tuple(_windows(S22, 20_348, revision) for revision in (4294, 4405, 4529)),
    ("linux", "laptop"): (_ubuntu("24.04", "Noble Numbat", 3), _ubuntu("24.04", "Noble Numbat", 4)),
    ("linux", "server"): (_debian(13, 1, "trixie"), _debian(13, 2, "trixie")),
}
"""Of a platform and kind, from older to newer: all of them get patches still."""
UNSUPPORTED: dict[tuple[str, str], Release] = {
    ("darwin", "laptop"): _macos(12, 7, "21H1320", 6),
    ("darwin", "server"): _macos(12, 7, "21H1320", 6),
    ("windows", "laptop"): _windows("Microsoft Windows 10 Enterprise", 19_044, 4529),
    ("windows", "server"): _windows("Microsoft Windows Server 2012 R2 Standard", 9600, 22_620),
    ("linux", "laptop"): _ubuntu("18.04", "Bionic Beaver", 6),
    ("linux", "server"): _debian(10, 13, "buster"),
}
"""Releases nobody patches any more."""
BEHIND: dict[tuple[str, str], Release] = {
    ("darwin", "laptop"): _macos(26, 0, "25A354"),
    ("darwin", "server"): _macos(15, 6, "24G84"),
    ("windows", "laptop"): _windows(W11, 26_200, 6584),
    ("windows", "server"): _windows(S22, 20_348, 3932),
}
"""Releases that get patches, without those of the last months."""

AGENT, AGENT_BEFORE, AGENT_OLD = "5.23.0", "5.22.1", "5.8.2"
"""osquery's versions in the fleet: the current one, the one before, and one of years ago."""


@dataclass(frozen=True, slots=True)
class Software:
    """An installed application: its name, a bundle or package id, and its versions from older to newer."""

    name: str
    identifier: str
    versions: tuple[str, ...]


SOFTWARE = (
    Software("Google Chrome", "com.google.Chrome", ("141.0.7390.122", "142.0.7444.59", "142.0.7444.175")),
    Software("Slack", "com.tinyspeck.slackmacgap", ("4.46.99", "4.47.59")),
    Software("1Password", "com.1password.1password", ("8.11.16", "8.11.20")),
    Software("Visual Studio Code", "com.microsoft.VSCode", ("1.105.1", "1.106.2")),
    Software("Zoom", "us.zoom.xos", ("6.6.0", "6.6.6")),
)
PASSWORD_MANAGER, BROWSER = SOFTWARE[2], SOFTWARE[0]
OLD_BROWSER = "120.0.6099.71"
PROHIBITED = Software("qBittorrent", "org.qbittorrent.qBittorrent", ("5.1.2",))
LINUX_PACKAGES = {"Google Chrome": "google-chrome-stable", "Slack": "slack-desktop", "Visual Studio Code": "code"}
"""Names of packages that are not the application's own in lower case."""

FIRST_NAMES = tuple(
    "ada bela chen dora emil fatma goro hana ivan jana kofi lena mira noor olaf petra quinn rosa sami tara uma viktor"
    " wanda yuki zoe".split()
)
LAST_NAMES = tuple(
    "adler brandt costa diaz engel fischer garcia haas ito jansen kaya lang meyer novak okoro peters rao silva tanaka"
    " weber".split()
)
