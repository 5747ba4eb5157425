DELETE FROM object_counts WHERE kind = ?1 AND namespace = ?2 AND objects <= 0
