DELETE FROM object_labels WHERE label = ?1 AND namespace = ?2 AND name = ?3 AND object = ?4
