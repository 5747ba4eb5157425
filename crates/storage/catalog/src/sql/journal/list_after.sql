SELECT seq, at, actor, changes, digests, previous, digest FROM journal WHERE seq > ?1 ORDER BY seq
