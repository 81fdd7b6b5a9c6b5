"""The error that a split which must not be used is refused with."""

from pipeline.study.errors import UserError


class SplitError(UserError):
    """The data set cannot be split as asked, or a split breaks a rule. The message names the key to change."""
