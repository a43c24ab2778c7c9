"""Numbers as Go and Prometheus's templates print them: %v, printf and the humanize family."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal


class FormatError(ValueError):
    """A value that a function cannot use; the text is Prometheus's kind of message."""


def to_float(value: object) -> float:
    """A number, or a string that Go's ParseFloat takes."""
    if isinstance(value, bool):
        raise FormatError("can't convert bool to float")
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value.replace("_", "x"))
        except ValueError:
            raise FormatError(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from None
    raise FormatError(f"can't convert {type(value).__name__} to float")


def show(value: object) -> str:
    """``%v``: what ``{{ value }}`` prints."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return shortest(value)
    return "" if value is None else str(value)


def shortest(value: float) -> str:
    """Go's %v of a float64: the shortest digits that read back, with an exponent below 1e-4 and from 1e6 on."""
    if (special := _special(value)) is not None:
        return special
    exact = Decimal(repr(value)).normalize()
    exponent = exact.adjusted() if exact else 0
    if -4 <= exponent < 6:
        return f"{exact:f}"
    sign, digits, _ = exact.as_tuple()
    first, rest = str(digits[0]), "".join(map(str, digits[1:]))
    return f"{'-' if sign else ''}{first}{'.' if rest else ''}{rest}e{exponent:+03d}"


def _special(value: float) -> str | None:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return None


def four_digits(value: float) -> str:
    """``%.4g``."""
    return _special(value) or f"{value:.4g}"


def humanize(value: object) -> str:
    """1234567 is ``1.235M``; 0.0015 is ``1.5m``."""
    v = to_float(value)
    if v == 0 or not math.isfinite(v):
        return four_digits(v)
    if abs(v) >= 1:
        v, prefix = _divided(v, 1000, ("k", "M", "G", "T", "P", "E", "Z", "Y"))
    else:
        v, prefix = _multiplied(v)
    return f"{four_digits(v)}{prefix}"


def humanize1024(value: object) -> str:
    """1048576 is ``1Mi``."""
    v = to_float(value)
    if abs(v) <= 1 or not math.isfinite(v):
        return four_digits(v)
    v, prefix = _divided(v, 1024, ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"))
    return f"{four_digits(v)}{prefix}"


def _divided(v: float, base: int, prefixes: Sequence[str]) -> tuple[float, str]:
    prefix = ""
    for candidate in prefixes:
        if abs(v) < base:
            break
        prefix, v = candidate, v / base
    return v, prefix


def _multiplied(v: float) -> tuple[float, str]:
    prefix = ""
    for candidate in ("m", "u", "n", "p", "f", "a", "z", "y"):
        if abs(v) >= 1:
            break
        prefix, v = candidate, v * 1000
    return v, prefix


def humanize_duration(value: object) -> str:
    """90061 is ``1d 1h 1m 1s``; below a minute four digits, below a second ms, us, …"""
    v = to_float(value)
    if not math.isfinite(v):
        return four_digits(v)
    if v == 0:
        return f"{four_digits(v)}s"
    if abs(v) < 1:
        v, prefix = _multiplied(v)
        return f"{four_digits(v)}{prefix}s"
    sign, v = ("-", -v) if v < 0 else ("", v)
    whole = int(v)
    days, hours, minutes, seconds = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{sign}{four_digits(v)}s"


def humanize_percentage(value: object) -> str:
    """0.8512 is ``85.12%``."""
    return f"{four_digits(to_float(value) * 100)}%"


def humanize_timestamp(value: object) -> str:
    """1434405000.001 is ``2015-06-15 21:50:00.001 +0000 UTC``; milliseconds count."""
    v = to_float(value)
    if not math.isfinite(v):
        return four_digits(v)
    if not -(2.0**63) < v * 1e9 < 2.0**63:
        raise FormatError(f"{shortest(v)} cannot be represented as a nanoseconds timestamp since it overflows int64")
    nanoseconds = math.trunc(v * 1e9)
    ms = nanoseconds // 1_000_000 if nanoseconds >= 0 else -(-nanoseconds // 1_000_000)
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    fraction = f".{ms % 1000:03d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>\d+)?(?:\.(?P<precision>\d*))?(?P<verb>[a-zA-Z%])?")


def printf(template: str, args: Sequence[object]) -> str:
    """Go's fmt.Sprintf for strings, numbers and booleans, its words for missing, extra and wrong arguments included."""
    taken = 0

    def one(match: re.Match[str]) -> str:
        nonlocal taken
        verb = match["verb"]
        if verb == "%":
            return "%"
        if verb is None:
            return "%!(NOVERB)"
        if taken >= len(args):
            return f"%!{verb}(MISSING)"
        taken += 1
        return _verb(verb, match, args[taken - 1])

    text = VERB.sub(one, template)
    if taken < len(args):
        extra = ", ".join(f"{_go_type(a)}={show(a)}" for a in args[taken:])
        text += f"%!(EXTRA {extra})"
    return text


def _go_type(value: object) -> str:
    return {bool: "bool", int: "int", float: "float64"}.get(type(value), "string")


def _verb(verb: str, match: re.Match[str], value: object) -> str:
    flags, width = match["flags"], int(match["width"] or 0)
    precision = None if match["precision"] is None else int(match["precision"] or 0)
    body = _verb_body(verb, flags, precision, value)
    if body is None:
        return f"%!{verb}({_go_type(value)}={show(value)})"
    if "-" in flags:
        return body.ljust(width)
    if "0" in flags and isinstance(value, int | float) and math.isfinite(value):
        sign = body[:1] if body[:1] in "+-" else ""
        return sign + body[len(sign) :].rjust(width - len(sign), "0")
    return body.rjust(width)


def _verb_body(verb: str, flags: str, precision: int | None, value: object) -> str | None:
    plus = "+" if "+" in flags else " " if " " in flags else ""
    if isinstance(value, bool):
        return show(value) if verb in "vt" else None
    if isinstance(value, float):
        return _float_body(verb, plus, precision, value)
    if isinstance(value, int):
        if verb in "vd":
            return f"{value:{plus}d}"
        return f"{value:{verb}}" if verb in "xXob" else None
    text = show(value)
    if verb in "sv":
        return text if precision is None else text[:precision]
    return _quoted(text) if verb == "q" else None


def _float_body(verb: str, plus: str, precision: int | None, value: float) -> str | None:
    if verb not in "vfFeEgG":
        return None
    if (special := _special(value)) is not None:
        return special
    plus = "" if verb == "v" else plus
    if verb in "vgG" and precision is None:
        body = shortest(value)
        return plus + body if plus and value >= 0 else body
    return f"{value:{plus}.{6 if precision is None else precision}{'g' if verb == 'v' else verb}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


# --- times and durations ------------------------------------------------------------------------------------------------------------------


def go_duration(seconds: float) -> str:
    """Go's Duration.String: 5400 is ``1h30m0s``, 0.0015 is ``1.5ms``."""
    nanoseconds = math.trunc(seconds * 1e9)
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left == 0:
        return "0s"
    if left < 1_000_000_000:
        unit, size = next(u for u in (("ns", 1), ("µs", 1000), ("ms", 1_000_000)) if left < u[1] * 1000)
        return f"{sign}{_plain(Decimal(left) / size)}{unit}"
    hours, left = divmod(left, 3600 * 10**9)
    minutes, left = divmod(left, 60 * 10**9)
    text = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{text}{_plain(Decimal(left) / 10**9)}s"


def _plain(number: Decimal) -> str:
    return f"{number:f}".rstrip("0").rstrip(".") if "." in f"{number:f}" else f"{number:f}"


_LAYOUT = re.compile(
    r"January|Jan|Monday|Mon|MST|Z07:00|-07:00|-0700|2006|\.000|PM|pm|01|02|03|04|05|06|15|_2|1|2|3|4|5"
)


def go_time(at: datetime, layout: str) -> str:
    """Go's Time.Format for a time in UTC: the layout is written with 2006-01-02 15:04:05."""
    hour = at.hour % 12 or 12
    parts = {
        "January": f"{at:%B}", "Jan": f"{at:%b}", "Monday": f"{at:%A}", "Mon": f"{at:%a}", "MST": "UTC", "Z07:00": "Z",
        "-07:00": "+00:00", "-0700": "+0000", "2006": f"{at.year:04d}", ".000": f".{at.microsecond // 1000:03d}",
        "PM": f"{at:%p}", "pm": f"{at:%p}".lower(), "01": f"{at.month:02d}", "02": f"{at.day:02d}", "03": f"{hour:02d}",
        "04": f"{at.minute:02d}", "05": f"{at.second:02d}", "06": f"{at.year % 100:02d}", "15": f"{at.hour:02d}",
        "_2": f"{at.day:2d}", "1": str(at.month), "2": str(at.day), "3": str(hour), "4": str(at.minute), "5": str(at.second),
    }  # fmt: skip
    return _LAYOUT.sub(lambda found: parts[found.group()], layout)
