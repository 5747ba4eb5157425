INSERT INTO objects (kind, namespace, name, uid, labels, created, version, class, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
