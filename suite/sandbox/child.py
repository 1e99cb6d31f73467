"""A child process that is forked for one piece of work and answers with bytes.

Whatever the work changes in its process is gone with it, and none of it is in the process that reads the answer. This
confines nothing: the child may do what the user may. No torch import.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from suite.errors import InputError, sentence
from suite.sandbox.limits import die_with_parent

FORKS = sys.platform == "linux"
"""Whether processes can be forked. Elsewhere system libraries do not survive it."""

POLL_SECONDS = 1.0
"""How often a process that waits for an answer checks whether the one that it waits for is alive."""

END_SECONDS = 0.001
"""How often a child that has closed its answer is looked at: it ends at once, unless it was made to hang."""

_VALUE, _MISTAKE, _ERROR = b"v", b"m", b"e"
"""The first byte of an answer: what follows is the answer, or the text of an `InputError`, or of another error."""

_answers: int | None = None
"""The pipe on which this process answers, if it is such a child: what it forks itself must not write there."""


class ChildFailure(Exception):
    """A child gave no answer: its work raised `reason`, or it was `lost`: it died, and another try may help."""

    def __init__(self, reason: str, lost: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.lost = reason, lost


def is_child() -> bool:
    """Whether this process was forked by `in_child`: it has one thread and no accelerator, and may fork in turn."""
    return _answers is not None


def in_child(work: Callable[[], bytes], foreign: Connection | None = None) -> bytes:
    """What ``work()`` returns in a child that is forked for it and has no part in `foreign`, nor in this one's answer.

    Raises:
        InputError: the work raised it.
        ChildFailure: the work raised another error, or the child died.
    """
    global _answers
    reader, writer = os.pipe()
    sys.stderr.flush()  # what is buffered would be written twice
    parent, child = os.getpid(), os.fork()
    if not child:
        status = 1
        try:
            die_with_parent()
            if os.getppid() != parent:  # it died before it was told
                os._exit(1)
            os.close(reader)
            if foreign is not None:
                foreign.close()
            if _answers is not None:
                os.close(_answers)
            _answers = writer
            left = memoryview(_answer(work))
            while left:
                left = left[os.write(writer, left) :]
            status = 0
        except BaseException as error:
            print(sentence(error), file=sys.stderr)
        finally:
            with contextlib.suppress(BaseException):
                sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    try:
        data, status = _answer_of(child, reader)
    finally:
        os.close(reader)
    kind, content = data[:1], data[1:]
    if status or kind not in (_VALUE, _MISTAKE, _ERROR):
        raise ChildFailure(death(os.waitstatus_to_exitcode(status)), lost=True)
    if kind == _VALUE:
        return content
    text = content.decode(errors="replace")
    raise InputError(text) if kind == _MISTAKE else ChildFailure(text)


def _answer(work: Callable[[], bytes]) -> bytes:
    """The answer of a child: what its work returned or raised."""
    try:
        return _VALUE + work()
    except InputError as error:
        return _MISTAKE + str(error).encode(errors="replace")
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # SIGINT is blocked in workers: the work raised it
        return _ERROR + sentence(error).encode(errors="replace")


def wait_or_end(connections: list[Any], seconds: float) -> list[Any]:
    """Those of `connections` that are ready within `seconds`; ends this process if the one that started it has ended.

    A driver that is killed cannot stop its workers. Linux could do this (`suite.sandbox.limits.die_with_parent`), but
    counts the thread that started a process as its parent, and the executors' threads come and go.
    """
    parent = multiprocessing.parent_process()
    ready = wait([*connections, *([] if parent is None else [parent.sentinel])], seconds)
    if parent is not None and parent.sentinel in ready:
        os._exit(1)
    return ready


def _answer_of(child: int, reader: int) -> tuple[bytes, int]:
    """What the process `child` writes to the pipe `reader`, and the status with which it ends."""
    answer, pipe, ended, status = bytearray(), [reader], 0, 0
    while True:
        if not ended:
            # Asked before reading: what was written before the end counts. The pipe may still be open after it, in a
            # process that the child started.
            ended, status = os.waitpid(child, os.WNOHANG)
        ready = wait_or_end(pipe, 0.0 if ended else POLL_SECONDS if pipe else END_SECONDS)
        data = os.read(reader, 2**20) if ready else b""
        answer += data
        if ended and not data:
            return bytes(answer), status
        if ready and not data:
            pipe = []


def death(code: int) -> str:
    """How a process ended: with this exit status, or if it is negative by that signal."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"the worker process was killed by {signal.Signals(-code).name}"
    return f"the worker process ended with exit status {code}"
