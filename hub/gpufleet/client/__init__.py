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
What is shown, the same in every client (values only, no drawing):
    ``columns``         each column: title, text and severity of a cell, sort key, the hub's fields
    ``severity``        colours and letters of health, temperature, fan; health in words
    ``lines``           rows grouped by node, model, label or user, folded and sorted; users view
    ``group_rows``      the same groups summed up by the hub, for fleets too large to fetch
    ``fleet_header``    the fleet's counts and meters
    ``units``, ``moments``, ``names``   numbers, times and hostile names as short texts
    ``preferences``     what is remembered: one file under $XDG_CONFIG_HOME, mode 0600
What people type:
    ``filter.parse``, ``row_filter.matches``, ``fields.Fields``   the filter language
"""
