"""Files whose content tells whether it is whole, and which were reported as safe.

A writer makes files step by step. When a step has been synced, and only then, it calls `report`:
from then on the step must survive whatever happens. A checker, given the last step that was
reported, says what is missing or wrong.
"""

import os
import random

REPLACED = 3  # every third step replaces a file that was made before


def content(step):
    """The bytes of one step: some KiB that no other step has."""
    generator = random.Random(step)
    size = generator.choice((100, 4096, 20000, 70000))
    head = f"step {step}, {size} bytes\n".encode()
    return head + generator.randbytes(size)


def name(step):
    """A replacing step has the name of an earlier one."""
    return f"file-{step // 2 if step % REPLACED == 0 else step:04}"


def write_files(folder, steps, report):
    """Each file is written beside its name, synced, renamed, and the folder synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for step in range(1, steps + 1):
        path = os.path.join(folder, name(step))
        with open(path + ".new", "wb") as file:
            file.write(content(step))
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".new", path)
        os.fsync(descriptor)
        report(step)
    os.close(descriptor)


def check_files(folder, reported):
    """reported: the last step that was, 0 for none. Returns what is wrong, one text each."""
    safe = {}
    for step in range(1, reported + 1):
        safe[name(step)] = step
    wrong = []
    for file_name, step in safe.items():
        # The step after the last reported one may or may not be there, but is whole if it is.
        allowed = [step] + ([reported + 1] if name(reported + 1) == file_name else [])
        try:
            with open(os.path.join(folder, file_name), "rb") as file:
                found = file.read()
        except OSError as error:
            wrong.append(f"{file_name} of step {step}: {error.strerror}")
            continue
        if found not in [content(other) for other in allowed]:
            wrong.append(f"{file_name}: {len(found)} bytes that begin {found[:30]!r} are not those "
                         f"of step {step}")
    return wrong
