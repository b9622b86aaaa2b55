"""Units and other words that stand beside a number in an answer.

A unit may be left off or added; another unit fails. `6 apples` and `6` agree, `5 cm` and `5 m` do not, and no unit is
converted into another (`100 cm` is not `1 m` here).
"""

import re

_MEASURES = {
    "cm": "cm centimeter centimeters centimetre centimetres 厘米 公分",
    "mm": "mm millimeter millimeters millimetre millimetres 毫米",
    "m": "m meter meters metre metres 米 公尺",
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
    "minute": "min mins minute minutes 分钟",
    "hour": "h hr hrs hour hours 小时",
    "day": "day days 天 日",
    "week": "week weeks 周",
    "month": "month months 月",
    "year": "year years yr yrs 年",
    "l": "l liter liters litre litres 升",
    "ml": "ml milliliter milliliters millilitre millilitres 毫升",
    "gallon": "gal gallon gallons 加仑",
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
    "am": "am a.m a.m. 上午",
    "pm": "pm p.m p.m. 下午",
    "percent": "percent percentage %",
    "square": "square sq 平方",
    "cubic": "cubic cu 立方",
    "per": "per / 每",
}
MEASURES = {spelling: name for name, spellings in _MEASURES.items() for spelling in spellings.split()}
_FILLER = "a an the of is are in total about approximately exactly only each long tall wide high away old 个 只 本 人 共 约 答案 是 为 等于"
FILLER = frozenset(_FILLER.split())
_ABBREVIATED = re.compile(r"\b(?:mph|kph|kmh)\b")
_WORD = re.compile(r"a\.m\.?|p\.m\.?|[^\W\d_]+|/|%|\^\{?\d\}?")
_LONG = {"mph": "mile per hour", "kph": "km per hour", "kmh": "km per hour"}
_POWERS = {"^2": "square", "^3": "cubic"}


def agree(gold: str, answer: str) -> bool:
    """True when the words beside two equal numbers name no different units or things."""
    gold_measures, gold_things = _split(gold)
    answer_measures, answer_things = _split(answer)
    if "am" in gold_measures or "pm" in gold_measures:
        return gold_measures == answer_measures
    if gold_measures and answer_measures and gold_measures != answer_measures:
        return False
    return gold_things <= answer_things or answer_things <= gold_things


def is_unit(word: str) -> bool:
    """True for a known spelling of a unit of two letters or more, or of one Chinese character."""
    return word.casefold() in MEASURES and (len(word) > 1 or not word.isascii())


def _split(words: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Measures (sorted up to the first `per`) and other things of a text."""
    measures: list[str] = []
    things: set[str] = set()
    for token in _WORD.findall(_ABBREVIATED.sub(lambda m: _LONG[m.group()], words.casefold())):
        token = _POWERS.get(token.replace("{", "").replace("}", ""), token)
        singular = _singular(token)
        if token in MEASURES or token in _POWERS.values():
            measures.append(MEASURES.get(token, token))
        elif not token.isascii() and not _chinese(token, measures):
            things.add(token)
        elif token.isascii() and singular not in FILLER and token not in FILLER:
            things.add(singular)
    above, _, below = " ".join(measures).partition("per")
    return (*sorted(above.split()), *(("per", *sorted(below.split())) if below else ())), frozenset(things)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _chinese(token: str, measures: list[str]) -> bool:
    """True for a run of Chinese characters that is filler or units (then put into `measures`)."""
    while token:
        for length in range(min(4, len(token)), 0, -1):
            if token[:length] in MEASURES:
                measures.append(MEASURES[token[:length]])
                break
            if token[:length] in FILLER:
                break
        else:
            return False
        token = token[length:]
    return True
