SELECT seq, length(changes) FROM journal ORDER BY seq DESC
