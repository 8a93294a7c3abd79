"""Mail in the hub: from notices of alerts to mails in the outbox, and from there to people."""
