"""The empirical risk of a model on data: what is evaluated, and all that is seen to before it is.

``Risk`` puts parts together that each see to one thing: ``point`` holds the values that the model is evaluated at,
``calls`` evaluates it and sees that it is a function, ``guards`` keep it as it is meanwhile, ``samples`` are counted
and the same in every pass, ``independence`` sees that none of them depends on its batch, and ``first_look`` and
``reach`` find out what the model does inside and how far its derivatives reach.
"""

from sharpscope.curvature.risk.empirical import Risk
from sharpscope.curvature.risk.point import Parameters

__all__ = ["Parameters", "Risk"]
