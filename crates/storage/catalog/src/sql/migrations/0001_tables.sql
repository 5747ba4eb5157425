CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    seq      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    changes  BLOB NOT NULL,
    digests  BLOB NOT NULL,
    previous BLOB NOT NULL,
    digest   BLOB NOT NULL
) STRICT;

CREATE TABLE objects (
    id        INTEGER PRIMARY KEY,
    kind      TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    uid       TEXT NOT NULL,
    labels    BLOB NOT NULL,
    created   INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    class     INTEGER NOT NULL,
    body      BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX objects_by_key ON objects (kind, namespace, name);

-- A label is the hash of kind, key and value: small, and whoever reads compares the labels themselves.
CREATE TABLE object_labels (
    label  INTEGER NOT NULL,
    object INTEGER NOT NULL,
    PRIMARY KEY (label, object)
) STRICT, WITHOUT ROWID;
