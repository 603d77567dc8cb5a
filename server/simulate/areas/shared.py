"""Rows of tables that several areas have a part in."""

from __future__ import annotations

Row = dict[str, object]


def unit(name: str, active: str, *, file_state: str = "enabled", folder: str = "/usr/lib/systemd/system") -> Row:
    """A systemd unit; ``active`` is active, inactive or failed."""
    sub = {"active": "running", "inactive": "dead", "failed": "failed"}[active]
    return {
        "id": name,
        "description": name.split(".")[0],
        "load_state": "loaded",
        "active_state": active,
        "sub_state": sub,
        "unit_file_state": file_state,
        "fragment_path": f"{folder}/{name}",
    }


def service(name: str, title: str, path: str, *, running: bool = True, start: str = "AUTO_START") -> Row:
    """A Windows service."""
    return {
        "name": name,
        "display_name": title,
        "service_type": "OWN_PROCESS",
        "status": "RUNNING" if running else "STOPPED",
        "start_type": start,
        "path": path,
    }


def registry(key: str, name: str, data: object, kind: str = "REG_DWORD") -> Row:
    """A value of the registry; ``data`` is its value."""
    return {"key": key, "path": f"{key}\\{name}", "name": name, "type": kind, "data": data}


def setting(path: str, node: str, value: str) -> Row:
    """A node that Augeas found in a file; ``node`` is its path within the file."""
    return {
        "path": path,
        "node": f"/files{path}/{node}",
        "label": node.rsplit("/", 1)[-1].split("[")[0],
        "value": value,
    }


def a_file(path: str, *, size: int = 1024, mtime: int = 0) -> Row:
    """A file there is; ``mtime`` is in unix seconds."""
    folder, _, name = path.rpartition("/")
    return {"path": path, "directory": folder, "filename": name, "type": "regular", "size": size, "mtime": mtime}
