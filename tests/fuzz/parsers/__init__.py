"""The parsers by name. Each takes any bytes; what it raises is a bug."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.parsers import (
    bodies,
    client,
    files,
    http,
    keys,
    parameters,
    saved,
    texts,
    tokens,
    uploads,
)

Parser = Callable[[bytes], None]

PARSERS: dict[str, Parser] = {
    parser.__name__: parser
    for parser in (
        bodies.json_records,
        bodies.ndjson_records,
        bodies.search_body,
        bodies.delete_body,
        bodies.websocket_message,
        parameters.query_string,
        parameters.filter_language,
        parameters.cursor,
        parameters.text_template,
        keys.key_text,
        keys.key_rights,
        http.request_head,
        http.request_path,
        http.caller_headers,
        uploads.upload,
        files.csv_file,
        files.tsv_file,
        files.json_lines,
        files.json_array,
        files.text_file,
        files.encoded_file,
        files.csv_cell,
        texts.query_text,
        client.event_stream,
        client.service_answer,
        saved.load_checkpoint,
        saved.backup_file,
        tokens.any_token,
        tokens.tenant_token,
    )
}
