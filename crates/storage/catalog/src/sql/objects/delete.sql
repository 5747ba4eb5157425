DELETE FROM objects WHERE id = ?1
