DELETE FROM object_labels WHERE label = ?1 AND object = ?2
