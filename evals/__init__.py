"""Evaluation of recall: published histories and their questions, read as they are, and exact metrics."""
