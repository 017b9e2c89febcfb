"""``check("4.2", fgsm)``: both halves of a check at once, in the notebook."""

from __future__ import annotations

from typing import Any

from .exercise import find
from .forbidding import called_by, refusal
from .guarding import guard
from .judging import Verdict, judge
from .probing import probe

SEED = 0


class CheckFailed(Exception):
    """The answer is not right yet. Shown as its sentence and hint alone, without a stack."""

    def __init__(self, verdict: Verdict):
        super().__init__(str(verdict))
        self.verdict = verdict

    def _render_traceback_(self) -> list[str]:  # the name that IPython looks for
        return str(self).splitlines()


def check(id: str, *answers: Any, seed: int | None = None) -> None:
    """Check the answer to an exercise: print what was shown, or say what is wrong.

    :param id: ``"4.2"``.
    :param answers: the objects asked for, such as the function ``fgsm``.
    :param seed: of the inputs; other seeds give other inputs.
    :raises CheckFailed: the answer is not right yet; the message is a sentence and a hint.
    :raises KeyError: there is no such exercise.
    :raises TypeError: more or fewer objects than the exercise asks for.
    """
    exercise = find(id)
    if len(answers) != len(exercise.answers):
        wanted = ", ".join((f'"{id}"', *exercise.answers))
        raise TypeError(f"expected check({wanted}), found {len(answers)} objects after the id")
    seed = SEED if seed is None else seed
    for answer in answers:
        if (found := called_by(answer, exercise.forbids)) is not None:
            raise CheckFailed(Verdict(id, False, *refusal(id, exercise.title, found)))
    with guard(exercise.forbids):
        record = probe(exercise, answers, seed)
    # The record goes through its text, as it does when a grader judges it in another process.
    verdict = judge(exercise, record, seed)
    if not verdict.passed:
        raise CheckFailed(verdict)
    print(verdict)
