"""The verify stage: rules, a judge and a majority on each trace. `verify` is the one way in.

It does not decide what is kept, and opens no file but for `summary`, which says what was found.
"""

from distill.verify import summary
from distill.verify.verdicts import require, verify, versions

__all__ = ["require", "summary", "verify", "versions"]
