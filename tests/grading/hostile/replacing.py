"""What the kernel holds, replaced: modules, functions, comparisons, IPython itself."""

from __future__ import annotations

from .case import GRADED, JUDGED, STOPPED, TIMED_OUT, attack, called
from .forging import LATER, NONE_LATER, PUBLIC, SHOW

CASES = [
    attack(
        "advlab-replaced",
        "puts a package of its own in the place of advlab.course",
        SHOW
        + """
import types
fake = types.ModuleType("advlab.course")
fake.check = lambda *a, **k: print("passed")
fake.emit = lambda id, *a, **k: show(json.dumps({"exercise": id, "passed": True}))
fake.probe = fake.watch = fake.emit
for name in [n for n in sys.modules if n == "advlab" or n.startswith("advlab.")]:
    sys.modules[name] = fake
"""
        + called("pass"),
        marks=NONE_LATER | {"4.1": JUDGED},
    ),
    attack(
        "emit-replaced",
        "makes the check's first half do nothing",
        "import advlab.course\nadvlab.course.emit = lambda *a, **k: print('4.1 passed')\n"
        + called("pass"),
        marks=NONE_LATER | {"4.1": STOPPED},
        says="never",
    ),
    attack(
        "probe-replaced",
        "puts a probe in the place of the course's that says that all went well",
        "import advlab.course as c\nfrom advlab.course.records import encode\n"
        "c.probe = lambda e, a, s: encode({'exercise': e.id, 'results': {'passed': True}})\n"
        + called("pass"),
        marks=NONE_LATER | {"4.1": JUDGED},
    ),
    attack(
        "records-replaced",
        "replaces how results become text",
        "import advlab.course.probing as p, advlab.course as c\n"
        "p.encode = c.encode = lambda results: 'passed'\n" + called("pass"),
        marks=NONE_LATER | {"4.1": JUDGED},
    ),
    attack(
        "import-hook",
        "has every later import of the course give an empty module",
        """
import sys, types
from importlib.machinery import ModuleSpec
class Hook:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.startswith("advlab") else None
    def create_module(self, spec):
        return types.ModuleType(spec.name)
    def exec_module(self, module):
        module.emit = lambda *a, **k: print("passed")
sys.meta_path.insert(0, Hook())
for name in [n for n in sys.modules if n.startswith("advlab")]:
    del sys.modules[name]
"""
        + called("pass"),
        marks=NONE_LATER | {"4.1": STOPPED},
    ),
    attack(
        "builtins-replaced",
        "replaces isinstance, exec, compile and __import__",
        """
import builtins
builtins.isinstance = lambda *a: True
builtins.exec = lambda *a: None
builtins.compile = lambda *a, **k: None
builtins.AssertionError = builtins.NotImplementedError = type("Nothing", (Warning,), {})
"""
        + called("pass"),
        marks=LATER,
        status=GRADED | TIMED_OUT,
    ),
    attack(
        "comparisons-replaced",
        "makes every comparison of tensors and arrays say yes",
        """
import numpy as np
yes = lambda *a, **k: True
torch.allclose = torch.equal = np.allclose = np.array_equal = yes
torch.isclose = lambda a, b, **k: torch.ones_like(a, dtype=torch.bool)
torch.Tensor.__eq__ = yes
torch.testing.assert_close = lambda *a, **k: None
"""
        + called("pass"),
        marks=LATER | {"4.1": JUDGED},
    ),
    attack(
        "always-equal",
        "returns an object that equals everything",
        """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __float__(self): return 0.0
    def __len__(self): return 40
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
"""
        + called("return Yes()"),
        marks={"4.1": JUDGED},
    ),
    attack(
        "lying-tensor",
        "returns a subclass of Tensor whose every operation gives something else",
        """
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, f, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            out = f(*args, **(kwargs or {}))
        return out + 1 if isinstance(out, torch.Tensor) and out.is_floating_point() else out
"""
        + called("return torch.zeros_like(x).as_subclass(Liar)"),
        marks={"4.1": JUDGED},
    ),
    attack(
        "tensors-written-otherwise",
        "replaces how a tensor becomes bytes",
        """
torch.Tensor.numpy = lambda self, *a, **k: memoryview(b"")
torch.Tensor.detach = lambda self: torch.zeros(1)
"""
        + called("pass"),
        marks=LATER,
    ),
    attack(
        "trivial-inputs",
        "replaces the random numbers, so that the inputs are all zero and 0 is the right answer",
        """
zero = lambda *shape, **k: torch.zeros(shape[0] if isinstance(shape[0], torch.Size) else shape)
torch.randn = torch.rand = zero
class Still:
    def manual_seed(self, seed): return self
torch.Generator = lambda *a, **k: Still()
torch.manual_seed = lambda seed: None
"""
        + called("pass"),
        marks=LATER | {"4.1": JUDGED},
    ),
    attack(
        "ast-transformer",
        "has IPython drop every assert, and every call that stands alone",
        """
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node): return ast.Pass()
    def visit_Expr(self, node): return ast.Pass()
get_ipython().ast_transformers.append(Drop())
"""
        + called("pass"),
        marks=NONE_LATER | {"4.1": STOPPED},
    ),
    attack(
        "cells-rewritten",
        "has IPython run 'pass' in place of every later cell",
        'get_ipython().input_transformers_cleanup.append(lambda lines: ["pass\\n"])\n'
        + called("pass"),
        marks=NONE_LATER | {"4.1": STOPPED},
    ),
    attack(
        "traceback-silenced",
        "silences the report of errors, and raises one",
        "ip = get_ipython()\n"
        "ip.showtraceback = ip._showtraceback = ip.showsyntaxerror = lambda *a, **k: None\n"
        "raise RuntimeError('nobody hears it')\n" + called("pass"),
    ),
    attack(
        "run-cell-replaced",
        "replaces IPython's run_cell by one that does nothing and reports success",
        """
from IPython.core.interactiveshell import ExecutionResult
ip = get_ipython()
def nothing(*a, **k):
    return ExecutionResult(None)
async def later(*a, **k):
    return ExecutionResult(None)
ip.run_cell, ip.run_cell_async = nothing, later
"""
        + called("pass"),
        marks=NONE_LATER | {"4.1": STOPPED},
    ),
    attack(
        "publishing-replaced",
        "has every record say what the public seed's right answer is",
        PUBLIC
        + """
pub, record = get_ipython().display_pub, forged()
real = pub.publish
pub.publish = lambda data, *a, **k: real({key: record for key in data}, *a, **k)
"""
        + called("pass"),
        marks=NONE_LATER | {"4.1": JUDGED},
    ),
    attack(
        "settrace",
        "traces the check, and turns what it finds in its frames into passes",
        """
import sys
def trace(frame, event, value):
    for name in ("passed", "ok", "verdict"):
        if name in frame.f_locals or name in frame.f_globals:
            frame.f_globals[name] = True
    return trace
sys.settrace(trace)
"""
        + called("pass"),
        marks=LATER,
    ),
]
