SELECT id, kind, namespace, name, uid, labels, created, version, class, body
FROM objects WHERE kind = ?1 AND (namespace, name) > (?2, ?3) ORDER BY namespace, name
