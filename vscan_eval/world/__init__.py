"""The drawn world: scenes from a seed, their pictures, questions about them and the true answers.

The embedded model is trained on it (`training/`) and every method can be measured on it (`python -m vscan_core eval`).
"""

from vscan_eval.world.drawing import DrawnScene, draw_scene
from vscan_eval.world.questions import QUESTION_TYPES, Question, draw_questions, make_question
from vscan_eval.world.scene import Scene, Thing, sample_scene

__all__ = [
    "QUESTION_TYPES",
    "DrawnScene",
    "Question",
    "Scene",
    "Thing",
    "draw_questions",
    "draw_scene",
    "make_question",
    "sample_scene",
]
