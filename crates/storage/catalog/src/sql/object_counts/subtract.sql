UPDATE object_counts SET objects = objects - 1 WHERE kind = ?1 AND namespace = ?2
