"""The one door to NVML: every call passes here, and every error gets its class.

Return codes are those of ``nvmlReturn_t`` in nvml.h. ctypes releases the GIL, so a call that the
driver never answers blocks its own thread only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from enum import Enum
from typing import Any

from gpufleet.agent.model import CollectorUnavailable


class Kind(Enum):
    """What an error means for what was asked."""

    PERMANENT = "permanent"
    """This GPU, driver or binding will never answer: not worth asking again."""
    NO_PERMISSION = "no_permission"
    RETRY = "retry"
    EMPTY = "empty"
    """There is nothing of that kind."""
    LOST = "lost"
    RESET_REQUIRED = "reset_required"
    DRIVER_GONE = "driver_gone"
    """The session is over; nvmlInit has to be called again."""


SUCCESS = 0
UNINITIALIZED = 1
NOT_SUPPORTED = 3
NO_PERMISSION = 4
INSUFFICIENT_SIZE = 7
DRIVER_NOT_LOADED = 9
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
LIB_RM_VERSION_MISMATCH = 18
UNKNOWN = 999

_KINDS = {
    UNINITIALIZED: Kind.DRIVER_GONE,
    NOT_SUPPORTED: Kind.PERMANENT,
    NO_PERMISSION: Kind.NO_PERMISSION,
    6: Kind.EMPTY,  # NOT_FOUND
    DRIVER_NOT_LOADED: Kind.DRIVER_GONE,
    FUNCTION_NOT_FOUND: Kind.PERMANENT,
    15: Kind.LOST,  # GPU_IS_LOST
    16: Kind.RESET_REQUIRED,
    LIB_RM_VERSION_MISMATCH: Kind.DRIVER_GONE,
    21: Kind.EMPTY,  # NO_DATA
    25: Kind.PERMANENT,  # ARGUMENT_VERSION_MISMATCH
    26: Kind.PERMANENT,  # DEPRECATED
    28: Kind.EMPTY,  # GPU_NOT_FOUND
}


def kind_of(code: int) -> Kind:
    """The class of an nvmlReturn_t other than SUCCESS; one that is not listed is worth a retry."""
    return _KINDS.get(code, Kind.RETRY)


class NvmlFailure(Exception):
    """One call that failed: its ``nvmlReturn_t``, the class of it, and the driver's words."""

    def __init__(self, code: int, call: str, words: str) -> None:
        super().__init__(f"{call}: {words} ({code})")
        self.code = code
        self.kind = kind_of(code)
        self.call = call
        self.words = words


class Nvml:
    """libnvidia-ml through pynvml (PyPI nvidia-ml-py); opened and closed, not more."""

    def __init__(self) -> None:
        self._pynvml: Any = None
        self._functions: dict[str, Callable[..., Any]] = {}
        self._worked = False

    def open(self) -> None:
        """Load the library and start a session; CollectorUnavailable says why it cannot."""
        if self._pynvml is None:
            try:
                self._pynvml = importlib.import_module("pynvml")
            except ImportError:
                raise CollectorUnavailable(
                    "The Python package nvidia-ml-py is not installed: "
                    "run pip install 'gpufleet[agent]'."
                ) from None
        try:
            self.call("nvmlInit")
        except NvmlFailure as failure:
            raise unavailable(failure, worked_before=self._worked) from None
        self._worked = True

    def close(self) -> None:
        """End the session; one that is over already is fine."""
        if self._pynvml is not None and self._worked:
            try:
                self.call("nvmlShutdown")
            except NvmlFailure:
                return

    def call(self, name: str, *args: Any) -> Any:
        """What pynvml's function of this name returns; NvmlFailure where the driver refuses."""
        if self._pynvml is None:
            raise NvmlFailure(UNINITIALIZED, name, "not opened")
        function = self._functions.get(name)
        try:
            if function is None:
                function = getattr(self._pynvml, name, None)
                if function is None:
                    raise NvmlFailure(FUNCTION_NOT_FOUND, name, "not in this nvidia-ml-py")
                self._functions[name] = function
            return function(*args)
        except self._pynvml.NVMLError as error:
            raise NvmlFailure(error.value, name, str(error)) from None
        except self._pynvml.NVMLLibraryMismatchError as error:
            raise NvmlFailure(FUNCTION_NOT_FOUND, name, str(error)) from None
        except UnicodeDecodeError:
            raise NvmlFailure(UNKNOWN, name, "the driver's text is not UTF-8") from None

    def make(self, name: str) -> Any:
        """An empty struct of pynvml's."""
        return getattr(self._pynvml, name)()

    def call_c(self, name: str, *args: Any) -> int:
        """The nvmlReturn_t of the library's own function, for structs that pynvml does not know.

        Only INSUFFICIENT_SIZE comes back besides SUCCESS; the rest is raised.
        """
        code: int = self.call("_nvmlGetFunctionPointer", name)(*args)
        if code not in (SUCCESS, INSUFFICIENT_SIZE):
            raise self.failure(code, name)
        return code

    def failure(self, code: int, name: str) -> NvmlFailure:
        """A return code that came inside an answer, with the driver's words."""
        return NvmlFailure(code, name, str(self._pynvml.NVMLError(code)))

    def has(self, name: str) -> bool:
        """True if the library itself has this function."""
        try:
            self.call("_nvmlGetFunctionPointer", name)
        except NvmlFailure:
            return False
        return True


def unavailable(failure: NvmlFailure, *, worked_before: bool) -> CollectorUnavailable:
    """Why NVML cannot be used, for people; a library once loaded is not replaced by a new init."""
    if failure.code == LIBRARY_NOT_FOUND:
        return CollectorUnavailable(
            "libnvidia-ml.so.1 was not found: install the NVIDIA driver, or start the container "
            "with the NVIDIA runtime and NVIDIA_DRIVER_CAPABILITIES=utility."
        )
    if failure.code == DRIVER_NOT_LOADED:
        return CollectorUnavailable(
            "The NVIDIA kernel driver is not loaded: load it (modprobe nvidia) or look into dmesg "
            "for why it did not load."
        )
    if failure.code == LIB_RM_VERSION_MISMATCH:
        if worked_before:
            return CollectorUnavailable(
                "The NVIDIA driver was exchanged under the running agent, which starts again by "
                "itself; restart the machine if nvidia-smi complains as well.",
                permanent=True,
            )
        return CollectorUnavailable(
            "The NVIDIA library and the loaded kernel driver are of different versions: restart "
            "the machine or load the new kernel driver."
        )
    if failure.code == NO_PERMISSION:
        return CollectorUnavailable(
            "This user may not use the NVIDIA driver: allow access to /dev/nvidiactl and "
            "/dev/nvidia*."
        )
    if failure.code == UNKNOWN:
        return CollectorUnavailable(
            "NVML says Unknown Error at its start: in a container its GPU devices were probably "
            "taken away, start it again; else look into dmesg."
        )
    return CollectorUnavailable(
        f"NVML does not start: {failure.words} ({failure.code}); see dmesg."
    )
