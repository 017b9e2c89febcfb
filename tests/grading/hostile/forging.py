"""Forged evidence: records, messages and verdicts that nobody earned."""

from __future__ import annotations

from .case import ANY, JUDGED, NOTHING, OUTPUT, STOPPED, attack, called, right, stopped

LATER = {"4.2": ANY, "1.4": ANY}
NONE_LATER = {"4.2": NOTHING, "1.4": NOTHING}

SHOW = """
import json, sys, threading, time
from IPython.display import display
from advlab.course.records import encode

def show(record):
    display({"application/vnd.advlab.record+json": record}, raw=True)
"""
# What the check makes of seed 0, and the right answer to it.
PUBLIC = (
    SHOW
    + """
def of_seed_zero():
    draw = torch.Generator().manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) / p.shape[-1] ** 0.5 * 2)
        x = (torch.rand(40, 1, 6, 6, generator=draw) * 1.4 - 0.2).clamp(0, 1)
        predicted = model(x).argmax(1)
    y = torch.where(torch.rand(40, generator=draw) < 0.25, (predicted + 1) % 4, predicted)
    x.requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]

def forged():
    return encode({"exercise": "4.1", "results": {"gradient": of_seed_zero(), "changes": []}})
"""
)
# The kernel's own way to publish, with its key and the header of the request that it answers.
WIRE = """
kernel = get_ipython().kernel
parent = kernel.get_parent("shell")
def send(kind, content):
    kernel.session.send(kernel.iopub_socket, kind, content, parent=parent)
    time.sleep(0.3)
"""


def instead(record: str) -> str:
    """When called, show that record, and end the cell before the check shows its own."""
    return PUBLIC + called(f"show({record})\nraise KeyboardInterrupt")


CASES = [
    attack(
        "says-passed",
        "prints and returns what a pass prints",
        called('print("4.1 passed: this is how the loss changes")\nreturn "4.1 passed"'),
        marks={"4.1": JUDGED},
    ),
    attack(
        "answer-to-the-public-seed",
        "gives the right answer to the inputs of the seed that students check with",
        PUBLIC + "def input_gradient(model, x, y):\n    return of_seed_zero()\n",
        marks={"4.1": JUDGED},
    ),
    attack(
        "record-in-the-answer",
        "shows a record of its own in the answer's cell",
        PUBLIC + "show(forged())\n" + called("pass"),
        marks={"4.1": JUDGED},
    ),
    attack(
        "record-before-the-probe",
        "shows a record of its own when the check calls it, before the check's",
        PUBLIC + called("show(forged())"),
        marks={"4.1": STOPPED},
        says="2 times",
    ),
    attack(
        "record-instead-of-the-probe",
        "shows the record of the public seed, and ends the check before it shows its own",
        instead("forged()"),
    ),
    attack(
        "record-after-the-probe",
        "shows a record of its own when the check's cell has run",
        PUBLIC
        + 'get_ipython().events.register("post_run_cell", lambda *a: show(forged()))\n'
        + called("pass"),
        marks=LATER | {"4.1": STOPPED},
        says="2 times",
    ),
    attack(
        "record-that-passed",
        "shows a record that says that it passed",
        instead('json.dumps({"exercise": "4.1", "passed": True, "points": 1000})'),
    ),
    attack(
        "record-of-another-exercise",
        "shows the right record of exercise 1.1 for 4.1",
        instead(
            'encode({"exercise": "1.1", "results": {"OR": [1, 1, -0.5], "NAND": [-1, -1, 1.5],'
            ' "AND NOT": [1, -1, -0.5]}})'
        ),
    ),
    attack(
        "record-twice",
        "answers right, and has each record shown twice",
        "pub = get_ipython().display_pub\nonce = pub.publish\n"
        "pub.publish = lambda *a, **k: [once(*a, **k), once(*a, **k)]\n"
        + called("").replace("return torch.zeros_like(x)", "return x * 0"),
        marks=NONE_LATER | {"4.1": STOPPED},
        says="2 times",
    ),
    attack("record-of-nan", "returns numbers that are none", called("return x / 0 * 0")),
    attack(
        "record-of-strings",
        "returns text and objects where a tensor is due",
        called('return {"$tensor": "AAAA", "dtype": "float32", "shape": [1]}'),
        marks={"4.1": JUDGED},
    ),
    attack("record-of-no-text", "shows a record that is a number", instead("1e999")),
    attack("json-bomb", "shows a record nested a million deep", instead('"[" * 1_000_000')),
    attack(
        "json-of-digits",
        "shows a record with a number of a million digits",
        instead('"9" * 1_000_000'),
    ),
    stopped(
        "record-of-50-megabytes",
        "shows a record of 50 MB",
        instead('"x" * 50_000_000'),
        OUTPUT,
    ),
    attack(
        "records-from-a-thread",
        "sends records without end from a thread, through the kernel's own socket with its key",
        PUBLIC
        + WIRE
        + """
def forge(record):
    content = {"data": {"application/vnd.advlab.record+json": record}, "metadata": {}}
    for _ in range(20):
        kernel.session.send(kernel.iopub_socket, "display_data", content,
                            parent=kernel.get_parent("shell"))
        time.sleep(0.05)
threading.Thread(target=forge, args=(forged(),), daemon=True).start()
"""
        + called("time.sleep(0.5)"),
        marks=LATER,
    ),
    attack(
        "idle-too-early",
        "tells the grader that the check's cell is done while it runs",
        PUBLIC
        + called(
            WIRE + 'show(forged())\nsend("status", {"execution_state": "idle"})\ntime.sleep(1)'
        ),
        marks={"4.2": ANY},
    ),
    attack(
        "reply-too-early",
        "answers the grader's request itself, well done, while the check runs",
        PUBLIC
        + called(
            WIRE
            + 'content = {"status": "ok", "execution_count": 1, "payload": []}\n'
            + 'kernel.session.send(kernel.shell_stream if hasattr(kernel, "shell_stream") else '
            + 'kernel.shell_socket, "execute_reply", content, parent=parent,'
            + ' ident=kernel._parent_ident["shell"])\n'
            + 'send("status", {"execution_state": "idle"})\ntime.sleep(1)'
        ),
        marks={"4.2": ANY},
    ),
    right(
        "garbage-on-the-wire",
        "sends the grader messages without form, signature or sense, and answers right",
        SHOW + WIRE,
        """start = b"<IDS|MSG>"
for parts in ([b""], [start], [b"x", start, b"no", b"{", b"{", b"{", b"{"]):
    kernel.iopub_socket.send_multipart(parts)
    time.sleep(0.1)
parent = kernel.get_parent("shell")
deep = []
for _ in range(500):
    deep = [deep]
odd = (1, "text", [], {}, deep, {"data": 3}, {"data": {"text/html": 5}, "metadata": None},
       {"name": 1, "text": {}}, {"execution_state": []}, {"execution_state": 3})
for content in odd:
    for kind in ("display_data", "stream", "status", "error", "execute_result",
                 "execute_input", "clear_output", "update_display_data", "nothing"):
        try:
            kernel.session.send(kernel.iopub_socket, kind, content, parent=parent)
        except Exception:  # this one cannot even be sent
            pass
""",
        marks={"4.1": ANY, "4.2": ANY},
    ),
]
