"""Every example of README.md, CONTRIBUTING.md and docs/ runs, and prints what the page says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.examples import run_page
from tests.docs.markdown import pages, read_blocks
from tests.docs.workspace import ExampleFailed

PAGES = [page for page in pages() if read_blocks(page)]


@pytest.mark.parametrize("page", PAGES)
def test_page_examples_run(
    page: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    outcome = run_page(page, tmp_path / "reader")
    record_property("examples", str(outcome))
    for reason in outcome.skipped:
        record_property("examples", f"  {reason}")


SERVED = """
```sh
curl 'http://127.0.0.1:8000/api/semantic-search?text_query=spicy+mouth&top_k=1'
```

```json
{"results": [{"_id": "chilli-burn-milk", "score": 0.4, "chunk_text": "Hot chillies burn …"}],
 "degraded": false, "cursor": "FW", "receipt": "…"}
```
"""

LOCAL = """
```python
print("a", 1.5)
```

```text
a 1.6
```
"""


@pytest.mark.parametrize(
    ("good", "bad", "complaint"),
    [
        ("chilli-burn-milk", "bread-fridge", "documented 'bread-fridge'"),
        ('"degraded"', '"complete"', "documented keys"),
        ("semantic-search", "semantic-serch", "exit status|documented keys"),
        ('"score": 0.4', '"score": "high"', "score: documented 'high'"),
        ('print("a"', 'print("b"', "documented:"),
        ('print("a"', 'raise SystemExit("a"', "exit status 1"),
        ("```python", "```ruby", "a block of ruby can't be run"),
        ("```python\n", "```\n", "a block of no language can't be run"),
    ],
)
def test_broken_example_fails(tmp_path: Path, good: str, bad: str, complaint: str) -> None:
    page = SERVED if good in SERVED else LOCAL
    assert good in page
    with pytest.raises(ExampleFailed, match=complaint):
        run_page("docs/page.md", tmp_path / "reader", page.replace(good, bad, 1))


def test_output_without_command_fails(tmp_path: Path) -> None:
    with pytest.raises(ExampleFailed, match="no command"):
        run_page("docs/page.md", tmp_path / "reader", '```json\n{"a": 1}\n```\n')


def test_marked_block_is_counted_and_not_run(tmp_path: Path) -> None:
    text = "<!-- doc-test: skip, needs an account -->\n```sh\nexit 1\n```\n"
    outcome = run_page("docs/page.md", tmp_path / "reader", text)
    assert (outcome.ran, outcome.skipped) == (0, ["docs/page.md:3: needs an account"])
