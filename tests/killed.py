"""Trainings that kill -9 ends in the middle of an epoch, at the same place on every machine."""

import signal

import forkserver

KILLED = """
import os, signal, sys

from index.cli import run_cli
from trainer.__main__ import app
from trainer import fit
from trainer.run_folder import RunFolder

left, save, step = int(sys.argv.pop(1)), RunFolder.save_checkpoint, fit._step

def save_checkpoint(*arguments):
    global left
    save(*arguments)
    left -= 1

def next_step(*arguments, **named):
    taken = step(*arguments, **named)
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return taken

RunFolder.save_checkpoint, fit._step = save_checkpoint, next_step
run_cli(app)
"""


def killed_after_checkpoints(n: int, *arguments: object) -> None:
    """`python -m trainer arguments` in a process that kill -9 ends one step after its n-th checkpoint."""
    running = forkserver.start("trainer", [n, *arguments], code=KILLED)
    assert running.wait(300) == -signal.SIGKILL, "it ended by itself"
