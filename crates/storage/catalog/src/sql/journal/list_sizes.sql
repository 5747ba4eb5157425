SELECT seq, length(changes), at FROM journal ORDER BY seq DESC
