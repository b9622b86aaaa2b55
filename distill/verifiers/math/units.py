"""Units and other words that stand beside a number in an answer.

A unit may be left off or added; another unit fails. `6 apples` and `6` agree, `5 cm` and `5 m` do not, and no unit is
converted into another (`100 cm` is not `1 m` here).
"""

import re
from collections.abc import Callable

_MEASURES = {
    "cm": "cm centimeter centimeters centimetre centimetres 厘米 公分",
    "mm": "mm millimeter millimeters millimetre millimetres 毫米",
    "m": "m meter meters metre metres 米 公尺",
    "micrometer": "microm um μm micrometer micrometers micron microns 微米",
    "km": "km kilometer kilometers kilometre kilometres 千米 公里",
    "inch": "in inch inches 英寸",
    "foot": "ft foot feet 英尺",
    "yard": "yd yard yards 码",
    "mile": "mi mile miles 英里",
    "g": "g gram grams 克",
    "kg": "kg kilogram kilograms 千克 公斤",
    "mg": "mg milligram milligrams 毫克",
    "pound": "lb lbs pound pounds 磅",
    "ounce": "oz ounce ounces 盎司",
    "ton": "ton tons tonne tonnes 吨",
    "s": "s sec secs second seconds 秒",
    "minute": "min mins minute minutes 分钟 分",
    "hour": "h hr hrs hour hours 小时 时",
    "day": "day days 天 日",
    "week": "week weeks 周",
    "month": "month months 月",
    "year": "year years yr yrs 年",
    "l": "l liter liters litre litres 升",
    "ml": "ml milliliter milliliters millilitre millilitres 毫升",
    "gallon": "gal gallon gallons 加仑",
    "unit": "unit units 单位",
    "degree": "degree degrees deg 度",
    "radian": "rad radian radians 弧度",
    "celsius": "celsius 摄氏度",
    "fahrenheit": "fahrenheit",
    "dollar": "dollar dollars usd 美元",
    "cent": "cent cents 美分",
    "euro": "euro euros eur 欧元",
    "pound sterling": "gbp 英镑",
    "yuan": "yuan rmb cny 元 人民币",
    "n": "n newton newtons 牛顿",
    "j": "j joule joules 焦耳",
    "w": "w watt watts 瓦",
    "v": "v volt volts 伏",
    "k": "k kelvin kelvins",
    "hz": "hz hertz 赫兹",
    "ohm": "ohm ohms Ω ω 欧姆 欧",
    "am": "am a.m a.m. 上午",
    "pm": "pm p.m p.m. 下午",
    "percent": "percent percentage %",
    "square": "square sq 平方",
    "cubic": "cubic cu 立方",
    "per": "per / 每",
}
MEASURES = {spelling: name for name, spellings in _MEASURES.items() for spelling in spellings.split()}
_FILLER = (
    "a an the of is are in total about approximately exactly only each long tall wide high away old answer value result final accepted "
    "apart length area volume speed distance time angle cost price width height remaining left more altogether "
    "个 只 本 人 共 约 答案 是 为 等于"
)
FILLER = frozenset(_FILLER.split())
_ABBREVIATED = re.compile(r"\b(?:mph|kph|kmh)\b")
_WORD = re.compile(r"a\.m\.?|p\.m\.?|[^\W\d_]+|/|%|\^\{?-?\d\}?")
_LONG = {"mph": "mile per hour", "kph": "km per hour", "kmh": "km per hour"}
_POWERS = {"square": 2, "cubic": 3}
_RAISED = {"squared": 2, "cubed": 3}
_QUALIFIERS = (
    "or than least most not no minus negative half twice double triple dozen almost nearly between except up modulo mod nor neither "
    "over under above below beyond fewer impossible undefined incorrect wrong false zero "
    "tenth hundredth thousandth hundred thousand million billion root factorial "
    "至少 至多 大于 小于 不是 不到 不等于 超过 不足 以上 以下"
)
QUALIFIERS = frozenset(_QUALIFIERS.split())
"""Words that make another answer of the number beside them: `at least 5` is not 5."""


def agree(gold: str, answer: str) -> bool:
    """True when the words beside two equal numbers name no different units or things."""
    gold_measures, gold_things = _split(gold)
    answer_measures, answer_things = _split(answer)
    if "am" in gold_measures or "pm" in gold_measures:
        return gold_measures == answer_measures
    if gold_measures and answer_measures and gold_measures != answer_measures:
        nameless = "unit" in gold_measures or "unit" in answer_measures
        return nameless and sorted(gold_measures.values()) == sorted(answer_measures.values())
    if (
        bool(gold_measures) != bool(answer_measures)
        and bool(gold_things) != bool(answer_things)
        and bool(gold_measures) == bool(answer_things)
    ):
        return False  # 5 cm beside 5 apples
    if any(_qualifies(thing) for thing in gold_things ^ answer_things):
        return False
    return gold_things <= answer_things or answer_things <= gold_things


def order(words: str) -> list[str]:
    """The measures of a text as they follow each other."""
    return list(_split(words)[0])


def qualified(words: str) -> bool:
    """True for words that do not only lead to the number after them."""
    return any(map(_qualifies, _split(words)[1]))


def is_unit(word: str) -> bool:
    """True for a known spelling of a unit of two letters or more, or of one Chinese character."""
    return word.casefold() in MEASURES and (len(word) > 1 or not word.isascii())


def _split(words: str) -> tuple[dict[str, int], frozenset[str]]:
    """Measures with their powers, and other things of a text: `m / s^2` is m to 1 and s to -2."""
    powers: dict[str, int] = {}
    things: set[str] = set()
    sign, factor, last = 1, 1, ""

    def put(measure: str) -> None:
        nonlocal sign, factor, last
        if measure == "per":
            sign = -1
        elif measure in _POWERS:
            factor = _POWERS[measure]
        else:
            powers[measure] = powers.get(measure, 0) + sign * factor
            factor, last = 1, measure

    for token in _WORD.findall(_ABBREVIATED.sub(lambda m: _LONG[m.group()], words.casefold())):
        singular = _singular(token)
        if token[0] == "^" or token in _RAISED:
            power = _RAISED.get(token) or int(token.strip("^{}"))
            if last:
                powers[last] *= power
        elif token in MEASURES:
            put(MEASURES[token])
        elif not token.isascii():
            things.update(_unknown_chinese(token, put))
        elif singular not in FILLER and token not in FILLER:
            things.add(token if token in QUALIFIERS else singular)
    if factor != 1:
        powers["1"] = factor  # `15 square` without its unit
    return powers, frozenset(things)


def _qualifies(thing: str) -> bool:
    return thing in QUALIFIERS or (not thing.isascii() and any(word in thing for word in QUALIFIERS))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _unknown_chinese(token: str, put: Callable[[str], None]) -> list[str]:
    """The run of Chinese characters when it is more than filler and units; its units are put down on the way."""
    rest = token
    while rest:
        for length in range(min(4, len(rest)), 0, -1):
            if rest[:length] in MEASURES:
                put(MEASURES[rest[:length]])
                break
            if rest[:length] in FILLER:
                break
        else:
            return [token]
        rest = rest[length:]
    return []
