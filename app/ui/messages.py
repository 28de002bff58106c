"""Sentences that several pages show. What goes on ends in an ellipsis; what is over does not."""

from __future__ import annotations

WAITING = "Waiting: the model is answering another question first …"
KEPT_EARLIER = "kept from an earlier run"
MEANINGLESS_TEXT = "This model has random weights: only its numbers mean something."
APPEARS_HERE = "The answer appears here."
NO_WORDS = "The model ended its answer before its first word."
STOPPED = "Stopped."
READ_AGAIN_IF_UNSURE = "If that answer is unsure, the question is read again with all visual tokens."
FEW_LEFT = "Below 5 %, expect wrong answers: very little of the picture is left."
