"""Who is told what, and when: pure decisions between notices of alerts and mails."""
