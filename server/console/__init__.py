"""The console: posture in a browser, made on the server, without a line of script."""

from server.console.guard import guard
from server.console.routes import attach

__all__ = ["attach", "guard"]
