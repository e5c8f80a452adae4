"""The other engines, each used as its own documentation says.

Engines that can be tuned to a recall of 0.97 at ten are, with the fastest setting that reaches it;
bench/README.md lists the settings that were tried. A library is imported when its engine is
created, since it may not be installed.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

from bench.engine.corpus import SELECTIVITIES, TOP_K, Batch, Vectors
from bench.engine.port import Engine, Filter, Rival


class LanceDB(Rival):
    """IVF_HNSW_SQ, a full-text index and scalar indexes for filters, built after loading."""

    packages: tuple[str, ...] = ("lancedb", "pyarrow")
    batch = 10_000  # each `add` is a version of the table with a file of its own
    EF, REFINE = 200, 2  # the default ef of 15 has a much lower recall

    def __init__(self) -> None:
        os.environ.setdefault("LANCE_LOG", "error")
        import lancedb
        import pyarrow

        self._library, self._arrow = lancedb, pyarrow

    async def open(self, folder: Path) -> None:
        self._db = self._library.connect(folder)
        names = self._db.list_tables().tables
        self._table: Any = self._db.open_table("records") if "records" in names else None

    async def load(self, batch: Batch) -> None:
        pa = self._arrow
        vectors = pa.array(batch.vectors.ravel())
        columns = {
            "id": batch.ids,
            "text": batch.texts,
            "vector": pa.FixedSizeListArray.from_arrays(vectors, batch.vectors.shape[1]),
        }
        for field in SELECTIVITIES:
            columns[field] = [fields[field] for fields in batch.fields]
        if self._table is None:
            self._table = self._db.create_table("records", pa.table(columns))
        else:
            self._table.add(pa.table(columns))

    async def finish(self) -> None:
        from lancedb.index import FTS, Bitmap, BTree, HnswSq

        self._table.optimize()
        self._table.create_index("vector", config=HnswSq(distance_type="cosine", num_partitions=1))
        self._table.create_index("text", config=FTS())
        for field, values in SELECTIVITIES.items():
            self._table.create_index(field, config=Bitmap() if values <= 1_000 else BTree())

    async def search_dense(self, vector: Vectors, filter: Filter | None) -> list[str]:
        query = self._table.search(vector, vector_column_name="vector").distance_type("cosine")
        return self._ids(query.ef(self.EF).refine_factor(self.REFINE), filter, "_distance")

    async def search_words(self, words: str, filter: Filter | None) -> list[str]:
        query = self._table.search(words, query_type="fts", fts_columns="text")
        return self._ids(query, filter, "_score")

    def _ids(self, query: Any, filter: Filter | None, score: str) -> list[str]:
        if filter:
            query = query.where("{} = '{}'".format(*filter))
        found: list[str] = query.limit(TOP_K).select(["id", score]).to_arrow()["id"].to_pylist()
        return found

    async def close(self) -> None:
        self._table = None


class Chroma(Rival):
    """HNSW with a higher `ef_search`. Words can filter (`where_document`), but not rank."""

    packages: tuple[str, ...] = ("chromadb",)
    batch = 5_000  # the maximum is 5,461
    EF_SEARCH = 300  # the default of 100 has a recall of 0.91 at 100,000

    def __init__(self) -> None:
        import chromadb

        self._library = chromadb

    async def open(self, folder: Path) -> None:
        settings = self._library.Settings(anonymized_telemetry=False)
        self._client = self._library.PersistentClient(str(folder), settings)
        self._records = self._client.get_or_create_collection(
            "records",
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine", "ef_search": self.EF_SEARCH}},
        )

    async def load(self, batch: Batch) -> None:
        self._records.add(
            ids=batch.ids, embeddings=batch.vectors, documents=batch.texts, metadatas=batch.fields
        )

    async def finish(self) -> None:
        pass

    async def search_dense(self, vector: Vectors, filter: Filter | None) -> list[str]:
        where = {filter[0]: filter[1]} if filter else None
        found = self._records.query(
            query_embeddings=vector, n_results=TOP_K, where=where, include=[]
        )
        ids: list[str] = found["ids"][0]
        return ids

    async def close(self) -> None:
        self._client.close()


class QdrantLocal(Rival):
    """Local Qdrant: numpy over all vectors and BM25 over all texts, without an index."""

    packages: tuple[str, ...] = ("qdrant-client",)

    def __init__(self) -> None:
        from qdrant_client import QdrantClient, models

        self._make_client, self._models = QdrantClient, models

    async def open(self, folder: Path) -> None:
        warnings.filterwarnings("ignore", "Local mode is not recommended", UserWarning)
        warnings.filterwarnings("ignore", "Payload indexes have no effect", UserWarning)
        self._client = self._make_client(path=str(folder))
        self._there = self._client.collection_exists("records")

    async def load(self, batch: Batch) -> None:
        models = self._models
        if not self._there:
            self._client.create_collection(
                "records",
                models.VectorParams(size=batch.vectors.shape[1], distance=models.Distance.COSINE),
            )
            self._client.create_payload_index(
                "records",
                "text",
                models.TextIndexParams(type=models.TextIndexType.TEXT, scoring=True),
            )
            for field in SELECTIVITIES:
                self._client.create_payload_index(
                    "records", field, models.PayloadSchemaType.KEYWORD
                )
            self._there = True
        payloads = [
            {"text": text, **fields} for text, fields in zip(batch.texts, batch.fields, strict=True)
        ]
        self._client.upload_collection(
            "records", batch.vectors, payload=payloads, ids=batch.numbers.tolist()
        )

    async def finish(self) -> None:
        pass

    async def search_dense(self, vector: Vectors, filter: Filter | None) -> list[str]:
        return self._ids(vector, None, filter)

    async def search_words(self, words: str, filter: Filter | None) -> list[str]:
        return self._ids(self._models.TextQuery(text=words), "text", filter)

    def _ids(self, query: Any, using: str | None, filter: Filter | None) -> list[str]:
        found = self._client.query_points(
            "records",
            query=query,
            using=using,
            query_filter=self._condition(filter),
            limit=TOP_K,
            with_payload=False,
        )
        return [str(point.id) for point in found.points]

    def _condition(self, filter: Filter | None) -> Any:
        if not filter:
            return None
        models = self._models
        match = models.MatchValue(value=filter[1])
        return models.Filter(must=[models.FieldCondition(key=filter[0], match=match)])

    async def close(self) -> None:
        self._client.close()


class SQLite(Rival):
    """sqlite-vec, which scans all vectors, and FTS5; `apsw` brings a recent SQLite."""

    packages: tuple[str, ...] = ("sqlite-vec", "apsw")

    def __init__(self) -> None:
        import apsw
        import sqlite_vec

        self._library, self._extension = apsw, sqlite_vec.loadable_path()

    async def open(self, folder: Path) -> None:
        self._db = self._library.Connection(str(folder / "records.db"))
        self._db.enableloadextension(True)
        self._db.loadextension(self._extension)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # durable, as in ours

    async def load(self, batch: Batch) -> None:
        self._make(batch.vectors.shape[1])
        columns = ", ".join(SELECTIVITIES)
        marks = ", ?" * len(SELECTIVITIES)
        rows = [
            (number, text, *fields.values())
            for number, text, fields in zip(
                batch.numbers.tolist(), batch.texts, batch.fields, strict=True
            )
        ]
        with self._db:
            self._db.executemany(
                f"INSERT INTO records (id, text, {columns}) VALUES (?, ?{marks})", rows
            )
            self._db.executemany(
                "INSERT INTO words (rowid, text) VALUES (?, ?)", [row[:2] for row in rows]
            )
            self._db.executemany(
                f"INSERT INTO vectors (id, vector, {columns}) VALUES (?, ?{marks})",
                [
                    (row[0], vector.tobytes(), *row[2:])
                    for row, vector in zip(rows, batch.vectors, strict=True)
                ],
            )

    def _make(self, dimension: int) -> None:
        columns = ", ".join(f"{field} TEXT" for field in SELECTIVITIES)
        self._db.execute(
            f"CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, text TEXT, {columns})"
        )
        for field in SELECTIVITIES:
            self._db.execute(f"CREATE INDEX IF NOT EXISTS by_{field} ON records ({field})")
        self._db.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5("
            "text, content = 'records', content_rowid = 'id', tokenize = 'porter unicode61')"
        )
        self._db.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS vectors USING vec0("
            f"id INTEGER PRIMARY KEY, vector float[{dimension}] distance_metric=cosine, {columns})"
        )

    async def finish(self) -> None:
        self._db.execute("INSERT INTO words (words) VALUES ('optimize')")
        self._db.execute("PRAGMA optimize")

    async def search_dense(self, vector: Vectors, filter: Filter | None) -> list[str]:
        condition = f"AND {filter[0]} = ?" if filter else ""
        return self._ids(
            f"SELECT id FROM vectors WHERE vector MATCH ? AND k = {TOP_K} {condition}"
            " ORDER BY distance",
            (vector.tobytes(), *(filter or ())[1:]),
        )

    async def search_words(self, words: str, filter: Filter | None) -> list[str]:
        query = " OR ".join(f'"{word}"' for word in words.split())
        joined, condition = "", ""
        if filter:
            joined = "JOIN records ON records.id = words.rowid"
            condition = f"AND records.{filter[0]} = ?"
        return self._ids(
            f"SELECT words.rowid FROM words {joined} WHERE words MATCH ? {condition}"
            f" ORDER BY rank LIMIT {TOP_K}",
            (query, *(filter or ())[1:]),
        )

    def _ids(self, sql: str, values: tuple[Any, ...]) -> list[str]:
        return [str(row[0]) for row in self._db.execute(sql, values)]

    async def close(self) -> None:
        self._db.close()


RIVALS: dict[str, type[Engine]] = {
    "lancedb": LanceDB,
    "chroma": Chroma,
    "qdrant": QdrantLocal,
    "sqlite": SQLite,
}
