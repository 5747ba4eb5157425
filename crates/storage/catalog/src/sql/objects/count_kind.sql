SELECT count(*) FROM objects WHERE kind = ?1 AND (namespace, name) > (?2, ?3)
