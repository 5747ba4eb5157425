INSERT INTO journal (seq, at, actor, changes, digests, previous, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
