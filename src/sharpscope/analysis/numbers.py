"""Numbers as a reader wants them: no more digits than their interval supports."""

from __future__ import annotations

import math

MINUS = "\u2212"
MISSING = "\u2013"
TIMES = "×"

_NEAR_ONE = (0.5, 2.0)
_PERCENT_ROUNDING = 1e-9  # of a percent, which a share of all misses by rounding
_ROUNDING = 1e-12  # of a number, which its computation may have left

_SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def decimals_for(uncertainty: float) -> int:
    """Return the decimal places that an uncertainty supports: two digits of it below 35, else one.

    >>> decimals_for(0.0061), decimals_for(0.021), decimals_for(340.0)
    (3, 3, -1)
    """
    exponent = math.floor(math.log10(uncertainty))
    leading = uncertainty / 10.0**exponent
    return 1 - exponent if leading < 3.5 else -exponent


def decimals_of(value: float, low: float, high: float) -> int:
    """Return the decimal places of an estimate: as its interval supports, three digits where there is none.

    An interval no wider than rounding is none: that of values that are all the same would call for all their digits.
    """
    width = (high - low) / 2
    if math.isfinite(width) and width > _ROUNDING * max(abs(low), abs(high)):
        return decimals_for(width)
    if not math.isfinite(value) or value == 0:
        return 0
    return 2 - math.floor(math.log10(abs(value)))


def fixed(value: float, decimals: int, *, sign: bool = False) -> str:
    """Return a number with so many decimal places, as powers of ten where that reads better.

    >>> fixed(0.94231, 3), fixed(-0.5, 1, sign=True), fixed(12345.6, -2), fixed(0.0000123, 6)
    ('0.942', '−0.5', '12,300', '1.2×10⁻⁵')
    """
    if not math.isfinite(value):
        return MISSING
    rounded = round(value, decimals)
    if decimals > 5 or abs(rounded) >= 1e6:
        text = _scientific(rounded, decimals)
    else:
        text = f"{abs(rounded):,.{max(decimals, 0)}f}"
    return (MINUS if rounded < 0 else "+" if sign and rounded > 0 else "") + text


def _scientific(value: float, decimals: int) -> str:
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    mantissa = f"{abs(value) / 10.0**exponent:.{max(decimals + exponent, 0)}f}"
    return f"{mantissa}×10{str(exponent).translate(_SUPERSCRIPTS)}"


def plain(value: float) -> str:
    """Return a round number, such as a mark of an axis, with the digits that it has.

    >>> plain(0.25), plain(-3.0), plain(20000.0), plain(0.00002), plain(1e6)
    ('0.25', '−3', '20,000', '2×10⁻⁵', '10⁶')
    """
    size = abs(value)
    if size and not 1e-4 <= size < 1e6:
        exponent = math.floor(math.log10(size) + 1e-9)
        mantissa = f"{size / 10.0**exponent:g}"
        text = f"{'' if mantissa == '1' else f'{mantissa}×'}10{str(exponent).translate(_SUPERSCRIPTS)}"
    else:
        text = f"{size:,.10g}"
    return (MINUS if value < 0 else "") + text


def estimate(value: float, low: float, high: float, *, sign: bool = False) -> str:
    """Return an estimate rounded as its interval supports.

    >>> estimate(0.94231, 0.9381, 0.9463)
    '0.942'
    """
    return fixed(value, decimals_of(value, low, high), sign=sign)


def with_interval(value: float, low: float, high: float, *, sign: bool = False) -> str:
    """Return an estimate with its interval: "0.942 [0.938, 0.946]"."""
    if not math.isfinite(value):
        return MISSING
    decimals = decimals_of(value, low, high)
    text = fixed(value, decimals, sign=sign)
    if not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} [{fixed(low, decimals, sign=sign)}, {fixed(high, decimals, sign=sign)}]"


def change(scale: str, value: float, low: float, high: float) -> str:
    """Return a difference with its interval as its scale has it: a factor of a ratio, else a number with its sign.

    >>> change("ratio", 1.131, 1.104, 1.152), change("difference", 0.012, 0.008, 0.016)
    ('×1.13 [1.10, 1.15]', '+0.012 [+0.008, +0.016]')
    """
    return factor(value, low, high) if scale == "ratio" else with_interval(value, low, high, sign=True)


def at_least(scale: str, size: float) -> str:
    """Return the size of a difference that has no direction: "×1.23", "0.012"; "none" of one that is infinite.

    A factor near 1 has as many digits as tell it from 1, which is no difference.

    >>> at_least("ratio", 1.234), at_least("difference", 0.0123), at_least("ratio", math.inf)
    ('×1.23', '0.012', 'none')
    >>> at_least("ratio", 1.011), at_least("ratio", 1.00123)
    ('×1.01', '×1.0012')
    """
    if not math.isfinite(size):
        return "none" if size > 0 else MISSING
    if scale == "ratio" and 1 < size < 1.01:
        return f"{TIMES}{size:.{1 - math.floor(math.log10(size - 1))}f}"
    return factor(size, math.nan, math.nan) if scale == "ratio" else _significant(size, 2)


def factor(value: float, low: float, high: float) -> str:
    """Return a ratio with its interval, with as many significant digits as the relative width supports.

    >>> factor(1.131, 1.104, 1.152), factor(9.31, 7.42, 11.64), factor(0.00031, float("nan"), float("nan"))
    ('×1.13 [1.10, 1.15]', '×9.3 [7.4, 11.6]', '×0.00031')
    >>> factor(5.0, 0.0213, 940.0), factor(1.026, 0.899, 1.169)
    ('×5.0 [0.021, 940]', '×1.03 [0.90, 1.17]')
    """
    if not (math.isfinite(value) and value > 0):
        return MISSING
    if not (0 < low <= high < math.inf):
        return TIMES + _significant(value, 3 if 1 <= value < _NEAR_ONE[1] else 2)
    spread = math.log(high / low) / 2
    digits = 4 if spread < 0.01 else 3 if spread < 0.1 else 2
    decimals = digits - 1 - _exponent(value, digits)
    if _NEAR_ONE[0] <= value < _NEAR_ONE[1]:
        decimals = max(decimals, 2)  # what counts is how far it is from 1
    ends = (
        fixed(end, decimals) if abs(math.log10(end / value)) < 1 else _significant(end, digits) for end in (low, high)
    )
    return f"{TIMES}{fixed(value, decimals)} [{', '.join(ends)}]"


def _significant(value: float, digits: int) -> str:
    return fixed(value, digits - 1 - _exponent(value, digits))


def _exponent(value: float, digits: int) -> int:
    """Return the power of ten of the first digit, once rounded."""
    exponent = math.floor(math.log10(value))
    return exponent + (round(value / 10.0**exponent, digits - 1) >= 10)


def correlation(value: float, low: float, high: float) -> str:
    """Return a correlation with its interval, two digits: the scale is the same for all."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return fixed(value, 2)
    return f"{fixed(value, 2)} [{fixed(low, 2)}, {fixed(high, 2)}]"


def percent(share: float) -> str:
    """Return a share in whole percent; what is nearly nothing or nearly all is not told as that.

    >>> percent(0.7134), percent(1.0), percent(0.998), percent(1.002), percent(0.0), percent(0.002), percent(-0.002)
    ('71%', '100%', '>99%', '>100%', '0%', '<1%', '>−1%')
    """
    return f"{_whole_percent(share)}%" if math.isfinite(share) else MISSING


def percentage(value: float, low: float, high: float) -> str:
    """Return a share with its interval, in whole percent; see ``percent``.

    >>> percentage(0.7134, 0.6, 0.8), percentage(0.7134, float("nan"), float("nan")), percentage(0.997, 0.98, 0.999)
    ('71% [60, 80]', '71%', '>99% [98, >99]')

    An interval that lies within a percent of nothing or of all is told in parts of a percent:

    >>> percentage(1.0002, 0.9991, 1.0013), percentage(0.003, 0.002, 0.004)
    ('100.02% [99.91, 100.13]', '0.30% [0.20, 0.40]')
    """
    if not (math.isfinite(value) and math.isfinite(low) and math.isfinite(high)):
        return percent(value)
    whole = [_whole_percent(share) for share in (value, low, high)]
    if all(text[0] in "<>" for text in whole):
        decimals = decimals_of(100 * value, 100 * low, 100 * high)
        whole = [fixed(100 * share, decimals) for share in (value, low, high)]
    return f"{whole[0]}% [{whole[1]}, {whole[2]}]"


def _whole_percent(share: float) -> str:
    rounded = round(100 * share)
    away = 100 * share - rounded
    if abs(away) < _PERCENT_ROUNDING or rounded not in (0, 100):
        return fixed(rounded, 0)
    if rounded == 0:
        return "<1" if away > 0 else f">{MINUS}1"
    return ">100" if away > 0 else ">99"


def p_value(p: float) -> str:
    """Return a p-value to two digits: "0.0020", "0.041", "0.63", "< 0.0001".

    >>> p_value(0.001953), p_value(0.0488), p_value(0.634), p_value(1e-9)
    ('0.0020', '0.049', '0.63', '< 0.0001')
    """
    if not math.isfinite(p):
        return MISSING
    if p < 1e-4:
        return "< 0.0001"
    if p >= 0.995:
        return "1"
    return f"{p:.{max(2, 1 - math.floor(math.log10(p)))}f}"
