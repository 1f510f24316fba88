"""Runs a command at a terminal of its own and types answers: each is sent once what it answers has been shown.

python3 pseudo-terminal.py '[["what is shown", "what is typed"], ...]' COMMAND...
"""

import json
import os
import pty
import sys

dialogue, command = json.loads(sys.argv[1]), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
seen = b""
for shown, typed in dialogue + [[None, None]]:
    while shown is None or shown.encode() not in seen:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux says so where the command has ended
            chunk = b""
        if not chunk:
            break
        sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
        seen += chunk
    else:
        # What was shown before an answer is not what the next one waits for.
        seen = seen[seen.index(shown.encode()) + len(shown) :]
        os.write(terminal, typed.encode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
