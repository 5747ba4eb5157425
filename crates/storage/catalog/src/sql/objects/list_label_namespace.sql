SELECT o.id, o.kind, o.namespace, o.name, o.uid, o.labels, o.created, o.version, o.class, o.body
FROM object_labels AS l CROSS JOIN objects AS o ON o.id = l.object
WHERE l.label = ?1 AND l.namespace = ?3 AND l.name > ?4 AND o.kind = ?2
ORDER BY l.name
