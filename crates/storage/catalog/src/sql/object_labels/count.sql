SELECT count(*) FROM (SELECT 1 FROM object_labels WHERE label = ?1 LIMIT ?2)
