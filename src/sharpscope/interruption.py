"""Ctrl-C that is not lost.

Python raises ``KeyboardInterrupt`` wherever it is at that moment. In a finalizer or in the callback of a weak reference
it is dropped, and within an import it may come out as an error of another kind, or be taken for a package that is
missing. So what the user asked for is remembered, and holds whatever becomes of the exception.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

INTERRUPTED = 130  # the exit code
CLEANUP_SECONDS = 10.0  # seconds for cleaning up, such as ending tasks on other machines


def guarded(command: Callable[[], int]) -> int:
    """Return the exit code of a command; if it is interrupted, end the process with the code 130 instead.

    The first interruption raises ``KeyboardInterrupt``, as usual. Where Python drops that, the process ends at once, as
    it does at a second interruption, and after ``CLEANUP_SECONDS``. All files are whole at any moment, and workers
    end with their parent.

    Args:
        command: What to do; this is the main thread.
    """
    asked = False

    def interrupt(*_: object) -> None:
        nonlocal asked
        if asked:
            _leave()
        asked = True
        if hasattr(signal, "setitimer"):  # Windows has no such timer: cleaning up takes what it takes there
            signal.signal(signal.SIGALRM, _leave)
            signal.setitimer(signal.ITIMER_REAL, CLEANUP_SECONDS)
        raise KeyboardInterrupt

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if asked and issubclass(unraisable.exc_type, KeyboardInterrupt):
            _leave()
        sys.__unraisablehook__(unraisable)

    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = dropped
    code = None
    try:
        code = command()
    except KeyboardInterrupt:
        # Asked for, or raised by the user's own code.
        code = INTERRUPTED
    finally:
        if asked or code == INTERRUPTED:
            # Whatever came of the command, be it an error that an import made of the interruption.
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            _leave()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


def _leave(*_: object) -> NoReturn:
    """End the process as it is: an ordinary end may take another exit code, or be held up."""
    # Written without a buffer, which may be in use at this moment; the escape shows the cursor that a bar has hidden.
    cursor = "\033[?25h" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{cursor}Interrupted; what was done is kept, and the same command goes on.\n".encode())
    os._exit(INTERRUPTED)
