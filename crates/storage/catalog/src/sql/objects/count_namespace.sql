SELECT count(*) FROM objects WHERE kind = ?1 AND namespace = ?2 AND name > ?3
