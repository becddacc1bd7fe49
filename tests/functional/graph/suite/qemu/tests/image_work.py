"""Works on images without a virtual machine: what a guest would do, in milliseconds."""

import subprocess
import time

#: Seconds that a test waits for others.
PATIENCE = 60


def run(test, params, env):
    """
    Look for the marks of earlier tests in the images, and leave own ones.

    :param params: ``marks_wanted``, ``marks_unwanted``, ``marks_written``: numbers, each stands for
        64 KiB of an image; ``pause``: seconds to wait; ``company``: how many tests called work must
        have begun before one goes on; ``fails = yes``; ``journal``: a file that gets a line at the
        beginning and one at the end
    """
    note(params, "begins")
    for name in params.objects("vms"):
        for image in params.object_params(name).objects("images"):
            work(test, params, params.object_params(name).object_params(image))
    time.sleep(float(params.get("pause", "0")))
    wait_for_company(params, int(params.get("company", "0")))
    if params.get("fails") == "yes":
        test.fail("told to")
    note(params, "ends")


def work(test, params, own):
    from virttest import data_dir, storage

    base = own.get("images_base_dir") or data_dir.get_data_dir()
    path = storage.get_image_filename(own, base)
    note(params, f"uses {path}")
    for mark in own.objects("marks_wanted"):
        if not io("read", path, mark):
            test.fail(f"mark {mark} is not in {path}")
    for mark in own.objects("marks_unwanted"):
        if io("read", path, mark):
            test.fail(f"mark {mark} is in {path}")
    for mark in own.objects("marks_written"):
        if not io("write", path, mark):
            test.fail(f"mark {mark} can't be written to {path}")


def wait_for_company(params, wanted):
    """Wait until so many tests called work have begun; not forever."""
    deadline = time.monotonic() + PATIENCE
    while wanted and time.monotonic() < deadline:
        with open(params["journal"]) as file:
            begun = [line for line in file if "work." in line and line.endswith(" begins\n")]
        if len(begun) >= wanted:
            return
        time.sleep(0.05)


def io(what, path, mark):
    command = f"{what} -P {mark} {int(mark) * 64}k 64k"
    done = subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", command, path], capture_output=True, text=True, check=False
    )
    return done.returncode == 0 and "verification failed" not in done.stdout


def note(params, what):
    if params.get("journal"):
        with open(params["journal"], "a") as file:
            file.write(f"{time.monotonic():.3f} {params['shortname']} {what}\n")
