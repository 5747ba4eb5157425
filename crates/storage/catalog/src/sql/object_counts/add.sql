INSERT INTO object_counts (kind, namespace, objects) VALUES (?1, ?2, 1)
ON CONFLICT (kind, namespace) DO UPDATE SET objects = objects + 1
