INSERT OR IGNORE INTO object_labels (label, namespace, name, object) VALUES (?1, ?2, ?3, ?4)
