"""A process's arguments for people, where the operator asked for them: secrets stay behind.

What follows a name such as ``--password``, stands in a URL before ``@``, is a known kind of key, or
is long and looks like chance is replaced by ``***``. That cannot find every secret, which is why
arguments are told by option only; where in doubt it hides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

MASK = "***"
LONGEST = 1024
_LONGEST_WORD = 4096

_SECRET_WORD = re.compile(
    r"auth|authorization|bearer|cookie|credentials?|keys?|pass|passphrase|passwd|passwords?|pat|psk"
    r"|pw|pwd|secrets?|sig|signature|token"
)
_SECRET_ENDING = re.compile(
    r"(?:password|passwd|passphrase|secret|apikey|accesskey|privatekey|token|credentials?)$"
)
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_OPTION = re.compile(r"-{1,2}[A-Za-z][\w.-]*")
_USER_OPTION = frozenset({"-u", "--user", "--proxy-user"})

_BEFORE_VALUE = re.compile(r"""(?P<name>[A-Za-z_][\w.-]*)["']?\s*[=:]\s*(?P<quote>["']?)""")
_VALUE = {
    "": re.compile(r"""[^&"'\s]+"""),
    '"': re.compile(r'[^"]+'),
    "'": re.compile(r"[^']+"),
}
_HEADER = re.compile(r"(?i)\b((?:proxy-)?authorization\s*[:=]\s*|bearer\s+)\S.*")
_USERINFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s]*(?:@[^/@\s]*)*@")
_KNOWN_KEY = re.compile(
    r"\b(?:(?:AKIA|ASIA|AROA|AIDA|ANPA|ANVA|AGPA)[A-Z0-9]{12,}"
    r"|gh[opsur]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{16,}"
    r"|sk-[\w-]{16,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}|eyJ[\w-]{10,}(?:\.[\w-]*)*)"
)
_HEX = re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{32,}(?![A-Za-z0-9])")
_RUN = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}")
_CHANCE_RATIO = 0.33
"""Share of neighbours that are of two classes of lower, upper, digit: 0.64 in base64, names 0.2."""


def told(words: Sequence[str]) -> str | None:
    """The arguments in one line with their secrets masked, at most LONGEST characters."""
    text = " ".join(_printable(word) for word in masked(words))
    return text[:LONGEST] or None


def masked(words: Sequence[str]) -> list[str]:
    """Each word with its secrets replaced; a word after the name of a secret wholly."""
    result = []
    hide_next = user_next = False
    for word in words:
        word = word[:_LONGEST_WORD]
        if hide_next and not word.startswith("--"):
            result.append(MASK if word else word)
            hide_next = user_next = False
            continue
        if user_next:
            word = re.sub(r"^([^:/@\s]*):.+$", rf"\1:{MASK}", word)
        hide_next = _OPTION.fullmatch(word) is not None and is_secret_name(word)
        user_next = word in _USER_OPTION
        result.append(_masked_word(word))
    return result


def environment(text: bytes, allowed: Iterable[str]) -> list[str]:
    """``KEY=value`` of the keys that may be told, of what /proc/PID/environ holds."""
    wanted = set(allowed)
    pairs = (item.decode(errors="replace") for item in text.split(b"\0"))
    return [pair for pair in pairs if pair.partition("=")[0] in wanted and "=" in pair]


def is_secret_name(name: str) -> bool:
    """Whether what has this name is likely a secret: ``--api-key`` is, ``--max-tokens`` is not."""
    parts = [part.lower() for part in _NAME_PART.findall(name)]
    return any(_SECRET_WORD.fullmatch(part) or _SECRET_ENDING.search(part) for part in parts)


def _masked_word(word: str) -> str:
    word = _HEADER.sub(lambda m: m[1] + MASK, word)
    word = _USERINFO.sub(lambda m: f"{m[1]}{MASK}@", word)
    word = _without_values(word)
    word = _KNOWN_KEY.sub(MASK, word)
    word = _HEX.sub(MASK, word)
    return _RUN.sub(lambda m: MASK if _looks_like_chance(m[0]) else m[0], word)


def _without_values(word: str) -> str:
    """``token=abc``, ``"password": "a b"`` and the like, anywhere in a word."""
    parts = []
    at = 0
    for before in _BEFORE_VALUE.finditer(word):
        if before.start() < at or not is_secret_name(before["name"]):
            continue
        value = _VALUE[before["quote"]].match(word, before.end())
        if value is not None:
            parts += [word[at : before.end()], MASK]
            at = value.end()
    return "".join([*parts, word[at:]])


def _looks_like_chance(run: str) -> bool:
    pairs = [(a, b) for a, b in pairwise(run) if a.isalnum() and b.isalnum()]
    if len(pairs) < 20:
        return False
    changes = sum(_class(a) != _class(b) for a, b in pairs)
    return changes / len(pairs) > _CHANCE_RATIO


def _class(character: str) -> int:
    return 0 if character.islower() else 1 if character.isupper() else 2


def _printable(word: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in word)
