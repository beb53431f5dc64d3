"""What tests of pages share: a browser, and a reader of elements and text."""

import shutil
from html.parser import HTMLParser

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
COUNT = """<script>addEventListener("load", () => {
  const images = [...document.images], broken = images.filter(i => !(i.complete && i.naturalWidth > 0));
  document.body.dataset.images = images.length; document.body.dataset.broken = broken.length;
  document.querySelectorAll("details").forEach(folded => folded.open = true); document.body.dataset.scrolled =
  [...document.querySelectorAll(".wide")].filter(t => t.scrollWidth > t.clientWidth).length; document.body.dataset.wide
  = document.documentElement.scrollWidth > innerWidth;
})</script>"""


class Page(HTMLParser):
    """Elements and text of a page, and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]
