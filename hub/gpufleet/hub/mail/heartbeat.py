"""Calls ``heartbeat_url``: a switch elsewhere that rings when it hears nothing any more."""

from __future__ import annotations

import http.client
import logging
import urllib.error
import urllib.request

from gpufleet.proto.logline import said

EVERY_SECONDS = 60.0
DEADLINE_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Heartbeat:
    """Calls one URL; what goes wrong is logged when it changes, and harms nothing."""

    def __init__(self, url: str, seconds: float = DEADLINE_SECONDS) -> None:
        self._url = url
        self._seconds = seconds
        self.trouble = ""
        """Why the last call failed ("": it did not)."""

    def beat(self) -> bool:
        """GET the URL once; whether it answered with success."""
        trouble = ""
        try:
            request = urllib.request.Request(self._url, headers={"User-Agent": "gpufleet"})
            with urllib.request.urlopen(request, timeout=self._seconds) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as error:
            with error:
                trouble = f"it answered {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            trouble = str(getattr(error, "reason", None) or error) or type(error).__name__
        if trouble and trouble != self.trouble:
            _log.warning("heartbeat_url cannot be called %s", said(reason=trouble))
        elif self.trouble and not trouble:
            _log.info("heartbeat_url answers again")
        self.trouble = trouble
        return not trouble
