"""Routes: which mailboxes hear of an incident."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpufleet.alerting.incident import Incident
from gpufleet.alerting.notify.muting import Matcher
from gpufleet.alerting.state import Severity


@dataclass(frozen=True, slots=True)
class Route:
    """What fits every matcher goes to ``recipients``. Without any condition: the default."""

    recipients: tuple[str, ...]
    matchers: tuple[Matcher, ...] = ()
    severities: frozenset[Severity] = frozenset()
    """Empty: every one."""

    @property
    def default(self) -> bool:
        return not self.matchers and not self.severities

    def fits(self, incident: Incident) -> bool:
        """Whether this route is for the incident."""
        if self.severities and incident.severity not in self.severities:
            return False
        return all(one.matches(incident) for one in self.matchers)


def recipients_of(incident: Incident, routes: Iterable[Route]) -> tuple[str, ...]:
    """The recipients of every route that fits, each once and sorted; else those of the default.

    A default route (one without conditions) counts only where no other fits. Nobody: ().
    """
    fallback: set[str] = set()
    found: set[str] = set()
    for route in routes:
        if route.default:
            fallback.update(route.recipients)
        elif route.fits(incident):
            found.update(route.recipients)
    return tuple(sorted(found or fallback))
