"""The measuring process's end of its command channel."""

import json
import os
import sys
from collections.abc import Callable, Iterator

from tunefarm_agent.commands import Json, encode
from tunefarm_agent.confinement import adopt_orphans, die_with_parent


def commands(answer: Callable[[Json], Json]) -> None:
    """Answer commands until the agent closes the channel.

    Replies go to what was standard output at the start; from then on standard output is the log, so that
    nothing that a library prints can pass for a reply. Dies with the agent; adopts orphans.
    """
    die_with_parent(int(sys.argv[1]))
    adopt_orphans()
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    replies.write(encode({"ok": {"ready": True}}))
    for command in _lines():
        replies.write(encode(answer(command)))


def _lines() -> Iterator[Json]:
    for line in sys.stdin.buffer:
        yield json.loads(line)
