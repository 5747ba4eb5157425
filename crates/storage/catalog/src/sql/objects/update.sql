UPDATE objects SET uid = ?2, labels = ?3, created = ?4, version = ?5, class = ?6, body = ?7 WHERE id = ?1
