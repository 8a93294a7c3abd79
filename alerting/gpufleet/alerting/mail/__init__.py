"""Mails as people see them: what they say, their HTML and text, their headers."""
