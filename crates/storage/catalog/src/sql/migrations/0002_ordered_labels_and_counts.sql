-- In key order below each label, so that a page of what bears it is read without sorting. The hash alone may collide.
ALTER TABLE object_labels RENAME TO unordered_labels;

CREATE TABLE object_labels (
    label     INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    name      TEXT NOT NULL,
    object    INTEGER NOT NULL,
    PRIMARY KEY (label, namespace, name, object)
) STRICT, WITHOUT ROWID;

INSERT INTO object_labels (label, namespace, name, object)
SELECT l.label, o.namespace, o.name, l.object
FROM unordered_labels AS l JOIN objects AS o ON o.id = l.object;

DROP TABLE unordered_labels;

-- How many rows each namespace has of each kind; no line where there are none.
CREATE TABLE object_counts (
    kind      TEXT NOT NULL,
    namespace TEXT NOT NULL,
    objects   INTEGER NOT NULL,
    PRIMARY KEY (kind, namespace)
) STRICT, WITHOUT ROWID;

INSERT INTO object_counts (kind, namespace, objects)
SELECT kind, namespace, count(*) FROM objects GROUP BY kind, namespace;
