"""The page that a citation opens. Its address is made of a row, and who writes rows may write any."""

from dataclasses import replace

from core.addresses import is_http_url
from core.metrics import PAGES_REFUSED
from retrieve.model import Evidence, Hit


def page(url: str | None) -> str | None:
    """`url` where it may become a link: http or https with a host, and nothing that no address holds.

    Looked at where it is shown: what the index holds is what the row said.
    """
    return url if url and is_http_url(url) and url.isprintable() and " " not in url else None


def with_pages(evidence: Evidence) -> Evidence:
    """The evidence, and of each hit only a page that may be opened. The others are counted."""
    return replace(evidence, hits=tuple(_with_page(hit) for hit in evidence.hits))


def _with_page(hit: Hit) -> Hit:
    shown = page(hit.url)
    if hit.url and shown is None:
        PAGES_REFUSED.labels(hit.document).inc()
    return replace(hit, url=shown)
