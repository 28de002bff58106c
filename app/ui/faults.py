"""What fails although nobody did anything wrong: a full disk, no memory; and the sentences for it."""

from __future__ import annotations

import errno
import traceback

from vscan_core.errors import InputError, OutOfMemory, ServerFailure
from vscan_core.measure import ran_out, release_memory

from ..session.elsewhere import RunLost
from ..session.uploads import DISK_FULL

DISK, MEMORY, SERVER, REPLICA, INTERNAL = "disk", "memory", "server", "replica", "internal"
NO_MEMORY = "The server is short of memory at the moment; please try again later."
NO_REPLICA = "The process that worked on this answer has ended, and another one takes its place; please ask again."
FAULT_SENTENCES = {DISK: DISK_FULL, MEMORY: NO_MEMORY, REPLICA: NO_REPLICA}
# no space, quota, read-only, not permitted (twice), file too large, and a file in the place of a folder (twice)
_OF_THE_DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR, errno.EEXIST,
)  # fmt: skip


def fault_kind(error: BaseException) -> str | None:
    """`DISK`, `MEMORY`, `SERVER` (the one that answers), `REPLICA` or `INTERNAL`; None: a visitor can put it right."""
    if isinstance(error, OutOfMemory) or (isinstance(error, Exception) and ran_out(error)):
        return MEMORY
    if isinstance(error, InputError):
        return SERVER if isinstance(error, ServerFailure) else None
    if isinstance(error, RunLost):
        return REPLICA
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        return DISK
    return INTERNAL


def let_go(error: BaseException) -> None:
    """Free what an exception still holds: the local variables of the functions that it came through, its causes' too.

    An exception lives until the last message about it is sent, and in it, after a failed allocation, all that the run
    had allocated before.
    """
    known: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in known:
        known.add(id(one))
        traceback.clear_frames(one.__traceback__)
        one = one.__cause__ or one.__context__
    release_memory()
