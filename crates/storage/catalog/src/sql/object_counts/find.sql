SELECT coalesce(sum(objects), 0) FROM object_counts WHERE kind = ?1 AND namespace = ?2
