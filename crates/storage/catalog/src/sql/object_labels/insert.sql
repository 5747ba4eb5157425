INSERT OR IGNORE INTO object_labels (label, object) VALUES (?1, ?2)
