"""Headers by which browsers protect the service, its pages and their users."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

# No response is what a page of another origin can embed as a script, style or image. Requests with
# CORS are not affected.
EVERY_RESPONSE = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Sent over TLS only (RFC 6797, section 7.2). Other host names of the domain are not ours to decide.
STRICT_TRANSPORT_SECURITY = "max-age=31536000"
EVERY_PAGE = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), "
    "payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}

_INLINE = "<{tag}>(.*?)</{tag}>"


def content_security_policy(page: str) -> str:
    """A policy that allows the page's own script and style, by their hashes, and nothing else.

    The script may connect to the service, and has no way to turn text into markup or code.
    """
    scripts, styles = _sources(page, "script"), _sources(page, "style")
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _sources(page: str, tag: str) -> str:
    """The hashes of the inline elements (CSP level 3, section 2.3.1), or `'none'`."""
    contents = re.findall(_INLINE.format(tag=tag), page, re.DOTALL)
    digests = [b64encode(sha256(content.encode()).digest()).decode() for content in contents]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
