"""What pySigma's parser makes of rules, evaluated as its documentation says. The protocol is that of src/main.rs: a case a
line on stdin, an answer a line on stdout.

Only reading the rule is pySigma's: fields, modifiers, wildcards, encodings and the tree of the condition. Comparing one
value with one value of an event is done here, as plainly as possible.
"""

import ipaddress
import json
import re
import sys

from sigma.collection import SigmaCollection
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.types import (
    CompareOperators,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

FLAGS = {
    SigmaRegularExpressionFlag.IGNORECASE: re.IGNORECASE,
    SigmaRegularExpressionFlag.MULTILINE: re.MULTILINE,
    SigmaRegularExpressionFlag.DOTALL: re.DOTALL,
}
ORDERS = {
    CompareOperators.LT: lambda a, b: a < b,
    CompareOperators.LTE: lambda a, b: a <= b,
    CompareOperators.GT: lambda a, b: a > b,
    CompareOperators.GTE: lambda a, b: a >= b,
}


def text(value):
    return json.dumps(value) if isinstance(value, (bool, int, float)) else value


def number(value):
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?", value, re.I | re.A):
        return None
    for read in (int, float):
        try:
            return read(value) if isinstance(value, str) else value
        except ValueError:
            pass
    return None


def values(event, field):
    value = event.get(field)
    return value if isinstance(value, list) else [] if value is None else [value]


def leaves(value):
    if isinstance(value, dict):
        return [leaf for v in value.values() for leaf in leaves(v)]
    if isinstance(value, list):
        return [leaf for v in value for leaf in leaves(v)]
    return [] if value is None else [value]


def fold(string):
    """Character by character: lower() looks at neighbours."""
    return "".join(c.lower() for c in string)


def pattern(string):
    """A SigmaString as characters, True for * and False for ?."""
    cased = isinstance(string, SigmaCasedString)
    found = []
    for part in string.s:
        if isinstance(part, str):
            found.extend(part if cased else fold(part))
        else:
            found.append(part == SpecialChars.WILDCARD_MULTI)
    return found


def wildcard(wanted, chars):
    """Which prefixes of the text are matched, one part of the pattern after the other."""
    ends = {0}
    for part in wanted:
        if part is True:
            ends = set(range(min(ends), len(chars) + 1)) if ends else ends
        else:
            ends = {i + 1 for i in ends if i < len(chars) and (part is False or chars[i] == part)}
    return len(chars) in ends


def string_matches(string, value, keyword):
    wanted = pattern(string)
    if keyword:
        wanted = [True, *wanted, True]
    cased = isinstance(string, SigmaCasedString)
    if wildcard(wanted, text(value) if cased else fold(text(value))):
        return True
    plain = all(isinstance(p, str) for p in wanted)
    a = number("".join(wanted)) if plain and isinstance(value, (int, float)) else None
    return a is not None and a == number(value)


def matches(value, event, field, there):
    """One value of the rule against the values `there` of the event; `field` is None for keywords."""
    match value:
        case SigmaExpansion():
            return any(matches(v, event, field, there) for v in value.values)
        case SigmaNull():
            return event.get(field) is None
        case SigmaExists():
            return (field in event) == value.exists
        case SigmaTimestampPart():
            raise NotImplementedError("parts of dates")
        case SigmaNumber():
            if field is None:
                return any(str(value.number) in text(v) for v in there)
            return any(number(v) == value.number for v in there if number(v) is not None)
        case SigmaBool():
            return any(text(v).lower() == str(value.boolean).lower() for v in there)
        case SigmaString():
            return any(string_matches(value, v, field is None) for v in there)
        case SigmaRegularExpression():
            flags = 0
            for flag in value.flags:
                flags |= FLAGS[flag]
            return any(re.search(value.regexp.original, text(v), flags) for v in there)
        case SigmaCIDRExpression():
            return any(in_network(v, value.network) for v in there)
        case SigmaCompareExpression() if isinstance(value.number, SigmaTimestampPart):
            raise NotImplementedError("parts of dates")
        case SigmaCompareExpression():
            order = ORDERS[value.op]
            return any(order(number(v), value.number.number) for v in there if number(v) is not None)
        case SigmaFieldReference():
            return any(refers(value, a, b) for a in there for b in values(event, value.field))
        case other:
            raise NotImplementedError(type(other).__name__)


def in_network(value, network):
    try:
        return ipaddress.ip_address(text(value)) in network
    except ValueError:
        return False


def refers(reference, a, b):
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (a, b)):
        return a == b
    a, b = fold(text(a)), fold(text(b))
    if reference.starts_with and reference.ends_with:
        return b in a
    if reference.starts_with:
        return a.startswith(b)
    if reference.ends_with:
        return a.endswith(b)
    return a == b


def holds(node, event):
    match node:
        case None:
            return False
        case ConditionAND():
            return all(holds(a, event) for a in node.args)
        case ConditionOR():
            return any(holds(a, event) for a in node.args)
        case ConditionNOT():
            return not holds(node.args[0], event)
        case ConditionFieldEqualsValueExpression():
            return matches(node.value, event, node.field, values(event, node.field))
        case _:
            return matches(node.value, event, None, leaves(event))


def answer(case):
    try:
        rules = SigmaCollection.from_yaml(case["rule"]).rules
        conditions = [c.parsed for rule in rules for c in rule.detection.parsed_condition]
        return {"verdicts": [any(holds(c, event) for c in conditions) for event in case["events"]]}
    except NotImplementedError:  # Read, but what it means is not said here.
        return {"silent": True}
    except Exception as e:  # Whatever pySigma raises is its answer.
        return {"refused": f"{type(e).__name__}: {e}"}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
