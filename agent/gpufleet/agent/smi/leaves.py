"""The XML of ``nvidia-smi -q -x`` as leaves by path, without a tree of it.

Supported clocks, three quarters of the text, are cut out before parsing. Entities are refused:
nvidia-smi declares none. A log that ends too early gives the GPUs that are complete.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from gpufleet.agent.smi.answers import Leaves

_ROOT = "nvidia_smi_log"
_DEEPEST = 32
_MOST_GPUS = 256
_MOST_PARTS = 20_000
_LONGEST = 4096
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_NAME_LINE = re.compile(r"^([ \t]*<process_name>)(.*)(</process_name>[ \t\r]*)$", re.MULTILINE)


class NotALog(Exception):
    """The output holds no XML of nvidia-smi."""


@dataclass(frozen=True, slots=True)
class GpuLeaves:
    """One ``<gpu>``; MIG devices and processes have leaves of their own."""

    id: str
    leaves: Leaves
    mig: tuple[Leaves, ...]
    processes: tuple[Leaves, ...]


@dataclass(frozen=True, slots=True)
class LogLeaves:
    """The log: what stands beside the GPUs, and the GPUs in the order of the driver.

    ``aside`` is the text before and after the XML. ``whole`` is False for a log cut short.
    """

    leaves: Leaves
    gpus: tuple[GpuLeaves, ...]
    aside: str
    whole: bool


def read_leaves(output: bytes) -> LogLeaves:
    """Parse an output of nvidia-smi; NotALog where there is no log in it."""
    begin = output.find(b"<?xml")
    if begin < 0:
        begin = output.find(b"<nvidia_smi_log")
    if begin < 0:
        raise NotALog
    closing = b"</nvidia_smi_log>"
    end = output.rfind(closing)
    end = len(output) if end < begin else end + len(closing)
    aside = (output[:begin] + b"\n" + output[end:]).decode(errors="replace")
    xml = _without(output[begin:end], b"<supported_clocks>", b"</supported_clocks>")
    walk = _Walk()
    whole = walk.parse(xml)
    if not whole:
        # Some versions write the names of processes as they are: <, & and stray bytes.
        mended = _Walk()
        whole = mended.parse(_mended(xml))
        walk = mended if whole or len(mended.gpus) > len(walk.gpus) else walk
    if not walk.is_log:
        raise NotALog
    return LogLeaves(walk.log, tuple(walk.gpus), aside, whole)


def _without(text: bytes, opening: bytes, closing: bytes) -> bytes:
    kept = []
    at = 0
    while (start := text.find(opening, at)) >= 0:
        stop = text.find(closing, start)
        if stop < 0:
            break
        kept.append(text[at:start])
        at = stop + len(closing)
    kept.append(text[at:])
    return b"".join(kept)


def _mended(xml: bytes) -> bytes:
    def quoted(match: re.Match[str]) -> str:
        return match[1] + escape(html.unescape(match[2])) + match[3]

    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", xml.decode(errors="replace"))
    return _NAME_LINE.sub(quoted, text).encode()


class _Refused(Exception):
    """The XML is none of nvidia-smi's."""


@dataclass(slots=True)
class _Gpu:
    id: str
    leaves: dict[str, str] = field(default_factory=dict)
    mig: list[Leaves] = field(default_factory=list)
    processes: list[Leaves] = field(default_factory=list)


class _Walk:
    """Follows the parser's events; a GPU is kept once its element has ended."""

    def __init__(self) -> None:
        self.is_log = False
        self.log: dict[str, str] = {}
        self.gpus: list[GpuLeaves] = []
        self._gpu: _Gpu | None = None
        self._part: list[Leaves] | None = None
        self._target = self.log
        self._paths: list[str] = []
        self._text = ""
        self._is_leaf = False

    def parse(self, xml: bytes) -> bool:
        """True if the text was sound to its end."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        parser.EntityDeclHandler = self._entity
        try:
            parser.Parse(xml, True)
        except (expat.ExpatError, _Refused):
            return False
        return True

    def _entity(self, *_: object) -> None:
        raise _Refused

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        depth = len(self._paths)
        self._text = ""
        self._is_leaf = True
        if depth == 0:
            if tag != _ROOT:
                raise _Refused
            self.is_log = True
            self._paths.append("")
            return
        if depth > _DEEPEST:
            raise _Refused
        path = f"{self._paths[-1]}/{tag}" if self._paths[-1] else tag
        if tag == "gpu" and depth == 1:
            if len(self.gpus) >= _MOST_GPUS:
                raise _Refused
            self._gpu = _Gpu(attributes.get("id", ""))
            self._target, path = self._gpu.leaves, ""
        elif self._gpu is not None and path in _PARTS and self._part is None:
            self._part = self._gpu.mig if tag == "mig_device" else self._gpu.processes
            if len(self._part) >= _MOST_PARTS:
                raise _Refused
            self._target, path = {}, ""
        self._paths.append(path)

    def _data(self, data: str) -> None:
        self._text += data

    def _end(self, tag: str) -> None:
        path = self._paths.pop()
        if path:
            if self._is_leaf:
                self._target.setdefault(path, self._text.strip()[:_LONGEST])
        elif self._gpu is not None:
            if self._part is not None:
                self._part.append(self._target)
                self._part, self._target = None, self._gpu.leaves
            else:
                gpu, self._gpu = self._gpu, None
                self.gpus.append(
                    GpuLeaves(gpu.id, gpu.leaves, tuple(gpu.mig), tuple(gpu.processes))
                )
                self._target = self.log
        self._is_leaf = False


_PARTS = frozenset({"mig_devices/mig_device", "processes/process_info"})
