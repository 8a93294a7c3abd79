"""Settings of mail in hub.toml: what is taken, and which mistakes are told how."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpufleet.alerting.notify.routing import recipients_of
from gpufleet.alerting.smtp import Security
from gpufleet.alerting.state import Severity
from gpufleet.hub.config import ConfigError, load
from gpufleet.hub.mail.config import MailConfig
from support.mail_incidents import incident

SMTP = '[smtp]\nhost = "mx.example.org"\nfrom = "GPUs <gpus@example.org>"\n'
ROUTE = '[[route]]\nrecipients = ["ops@example.org"]\n'


def mail(tmp_path: Path, text: str, **environ: str) -> MailConfig:
    file = tmp_path / "hub.toml"
    file.write_text(text)
    return load(file, environ, {}).mail


def test_a_server_with_a_login_and_routes(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    text = 'timezone = "Europe/Berlin"\nexternal_url = "https://gpus.example.org/"\n'
    text += SMTP + 'username = "u"\npassword_file = "secret"\n' + ROUTE
    text += '[[route]]\nseverity = ["critical"]\nlabel = { rack = "r1*" }\n'
    text += 'recipients = ["boss@example.org"]\n'
    config = mail(tmp_path, text)
    assert config.smtp is not None
    assert (config.smtp.port, config.smtp.security) == (587, Security.STARTTLS)
    assert (config.smtp.sender, config.smtp.password) == ("gpus@example.org", "s3cret")
    assert config.places.external_url == "https://gpus.example.org"
    assert str(config.zone) == "Europe/Berlin"
    hot = incident("a", severity=Severity.CRITICAL, labels={"rack": "r12"})
    assert recipients_of(hot, config.routes) == ("boss@example.org",)
    assert recipients_of(incident("a"), config.routes) == ("ops@example.org",)


def test_the_password_may_come_from_the_environment(tmp_path: Path) -> None:
    config = mail(tmp_path, SMTP + 'username = "u"\n', GPUFLEET_SMTP_PASSWORD="pw")
    assert config.smtp is not None
    assert config.smtp.password == "pw"


def test_mails_may_go_to_a_folder(tmp_path: Path) -> None:
    config = mail(tmp_path, '[smtp]\nmail_dir = "mails"\nfrom = "g@example.org"\n' + ROUTE)
    assert config.smtp is None
    assert config.mail_dir == tmp_path / "mails"
    assert config.on


def test_without_smtp_there_is_no_mail(tmp_path: Path) -> None:
    assert not mail(tmp_path, "").on


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (SMTP + 'securty = "tls"\n', "unknown setting 'securty'. Did you mean security?"),
        (SMTP + 'security = "startls"\n', "'startls' is none of .* Did you mean starttls?"),
        (SMTP + 'security = "none"\n', "for a server on this machine only, not for mx.example"),
        (SMTP + 'username = "u"\n', "u has no password: name a file with password_file, or set"),
        (SMTP + "port = 70000\n", "port must be from 1 to 65535, not 70000"),
        ('[smtp]\nhost = "mx"\n', "say whom mails come from"),
        ('[smtp]\nfrom = "g@example.org"\n', "name the mail server with host"),
        (SMTP + "[[route]]\n", "route 1 has no recipients"),
        (SMTP + '[[route]]\nrecipients = ["x y"]\n', "'x y' is no mail address"),
        (SMTP + '[[route]]\nrecipients = ["a@b.c\\nBcc: d@e.f"]\n', "is no mail address"),
        (SMTP + ROUTE + 'severity = "critcal"\n', "Did you mean critical?"),
        (ROUTE, "There are routes, but no"),
        ('timezone = "Mars/Base"\n', "'Mars/Base' is not known here"),
        ('external_url = "javascript:alert(1)"\n', "external_url must be an address"),
        ('heartbeat_ur = "https://x.example"\n', "Did you mean heartbeat_url?"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        mail(tmp_path, text)
