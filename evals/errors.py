"""Why an evaluation ends early: each error's text is a sentence for who ran it."""


class EvaluationFailed(Exception):
    """The evaluation cannot go on; the text says why, and what to do."""


class DataUnreadable(EvaluationFailed):
    """A data file is missing, cut off, or not of the shape that its loader reads."""


class WrongUse(EvaluationFailed):
    """What was asked for does not exist or does not fit together."""
