SELECT id, kind, namespace, name, uid, labels, created, version, class, body
FROM objects ORDER BY kind, namespace, name
