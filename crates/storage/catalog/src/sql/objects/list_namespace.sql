SELECT id, kind, namespace, name, uid, labels, created, version, class, body
FROM objects WHERE kind = ?1 AND namespace = ?2 AND name > ?3 ORDER BY name
