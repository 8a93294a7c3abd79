"""What the clients share. Only the standard library; small in memory; no screen of any kind.

The hub, from the wire up:
    ``hub.Hub``         one hub over HTTP: ``get``, ``post``, ``delete``, ``open``; token, TLS
    ``errors``          HubError: BadAddress, Unreachable, Refused, Broken, each with a sentence
    ``api``             every question as a function with a typed answer
    ``documents``, ``history_documents``, ``alert_documents``   the answers: frozen dataclasses
    ``query.ListQuery`` which part of the list: filter, sort, fields, limit, offset, interval
    ``stream.Stream``   a thread that keeps a ``table.Table`` up: ``ask``, ``poll``, never waits
    ``fetcher.Fetcher`` threads for single questions: ``fetch(slot, work)``, ``take``; latest wins
    ``wakeup.Wakeup``   one file descriptor that both ring, for select() or a Qt notifier
What people type:
    ``filter.parse``, ``row_filter.matches``, ``fields.Fields``   the filter language
"""
