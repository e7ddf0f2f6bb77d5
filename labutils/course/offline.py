"""HTML that stands alone: pictures that it names by a path go into it, what else it would load is left out and named.

Kept is what is known to load nothing. A browser sees HTML with other eyes than any parser, so the page that holds it
carries a Content-Security-Policy too (templates/lab_page/page.html.j2).
"""

import base64
import mimetypes
import os
import re
from pathlib import Path
from urllib.parse import unquote

from bs4 import BeautifulSoup
from bs4.element import Stylesheet

LEFT_OUT = ["script", "iframe", "frame", "object", "embed", "applet", "link", "meta", "base", "form"]
LOADING = ("src", "poster", "background", "href", "xlink:href")  # attributes; the href of a link waits for a click
LARGEST = 20_000_000  # bytes of a picture
NOTHING = "data:,"  # an address that a browser has at once
CSS = re.compile(r"@import[^;]*;?|url\(\s*(?P<quote>['\"]?)(?P<address>.*?)(?P=quote)\s*\)", re.IGNORECASE | re.DOTALL)


def offline(html: str, folder: Path) -> tuple[str, list[str]]:
    """HTML with its pictures inside, that loads nothing, and a sentence for each thing that is left out.

    Paths begin at `folder`; a picture may lie anywhere in the folder above that, the lab's.
    """
    soup = BeautifulSoup(html, "html.parser", multi_valued_attributes=None, on_duplicate_attribute="ignore")
    said = []

    def inside(address: str) -> str:
        """An address that loads nothing."""
        if address.strip().lower().startswith(("data:", "#")):
            return address
        try:
            return embedded(address, folder)
        except ValueError as reason:
            said.append(str(reason))
            return NOTHING

    def in_css(found: re.Match) -> str:
        if found["address"] is None:
            said.append(f"{_short(found[0])} is left out.")
            return ""
        kept = inside(found["address"])
        return found[0] if kept == found["address"] else f'url("{kept}")'

    for tag in soup.find_all(LEFT_OUT):
        said.append(f"{_short(f'<{tag.name}>', tag.get('src') or tag.get('href'))} is left out.")
        _put_sentence(soup, tag, said[-1])
    for text in soup.find_all(string=lambda text: isinstance(text, Stylesheet)):
        text.replace_with(Stylesheet(CSS.sub(in_css, text)))
    for tag in soup.find_all(True):
        for name, value in list(tag.attrs.items()):
            if name in LOADING and not (tag.name in ("a", "area") and name.endswith("href")):
                tag[name] = inside(value)
                if tag[name] == NOTHING and tag.name == "img":
                    _put_sentence(soup, tag, said[-1])
            elif name.startswith("on") or name in ("srcset", "imagesrcset"):  # src is what remains
                del tag[name]
            elif "url(" in value.lower():
                tag[name] = CSS.sub(in_css, value)
    return str(soup), said


def embedded(address: str, folder: Path) -> str:
    """The picture, sound or film at a path that begins at `folder`, as a "data:" address.

    Raises:
        ValueError: there is none, or it may not be taken; the sentence names it.
    """
    if re.match(r"\s*(\w[\w+.-]+:|[/\\]{2})", address):
        raise ValueError(f"{_short(address)} is not loaded: the page asks no host for anything.")
    places = (folder / address, folder / unquote(re.split("[?#]", address)[0]))
    path = next((place.resolve() for place in places if os.path.isfile(place)), None)
    if path is None:
        raise ValueError(f"{_short(address)} is not there.")
    if not path.is_relative_to(folder.resolve().parent):
        raise ValueError(f"{_short(address)} lies outside the lab's folder.")
    kind = mimetypes.guess_type(path.name)[0] or ""
    if not kind.startswith(("image/", "audio/", "video/")) or path.stat().st_size > LARGEST:
        raise ValueError(f"{_short(address)} is no picture of at most {LARGEST // 1_000_000} MB.")
    try:
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    except OSError as error:
        raise ValueError(f"{_short(address)} cannot be read ({error.strerror}).") from error


def _short(*words: str | None) -> str:
    text = " ".join(filter(None, words))
    return text if len(text) <= 100 else text[:97] + "..."


def _put_sentence(soup: BeautifulSoup, tag, sentence: str) -> None:
    note = soup.new_tag("span", attrs={"class": "left-out"})
    note.string = sentence
    tag.replace_with(note)
