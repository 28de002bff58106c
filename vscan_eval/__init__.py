"""Accuracy of a model with fewer visual tokens: tasks, scores, confidence intervals, and a resumable runner."""
