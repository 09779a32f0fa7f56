# xcross-report.sh - the tables of bench/xcross, from its log.  Sourced after lib.sh.

# A table of every target: rows are methods and parts of the users, cells a mean and its standard error
report()
{
	awk -F, '
		/^#/ || $1 == "target" { next }
		{
			cell = $1 SUBSEP $2 SUBSEP $3
			if (!($1 in seen)) { order[++targets] = $1; seen[$1] = 1 }
			if (!(($1, $2) in method)) { methods[$1] = methods[$1] " " $2; method[$1, $2] = 1 }
			if (!(($1, $3) in part)) { parts[$1] = parts[$1] " " $3; part[$1, $3] = 1 }
			n[cell]++
			for (f = 6; f <= 17; f++) { sum[cell, f] += $f; squares[cell, f] += $f * $f }
			users[$1] = $5
		}
		function shown(cell, f,    mean, error) {
			mean = sum[cell, f] / n[cell]
			if (n[cell] < 2) return sprintf("%.4f", mean)
			error = squares[cell, f] / n[cell] - mean * mean
			error = sqrt((error > 0 ? error : 0) / (n[cell] - 1))
			return sprintf("%.4f ± %.4f", mean, error)
		}
		END {
			for (t = 1; t <= targets; t++) {
				target = order[t]
				printf "\n**%s**, %d users judged\n\n", target, users[target]
				print "| Method | Users % | Seeds | NDCG@10, all | HR@10, all | MRR, all | NDCG@10 of 100 | HR@1 | HR@5 | HR@10 | MRR | Trained numbers | Seconds |"
				print "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
				count = split(methods[target], list, " ")
				fractions = split(parts[target], portions, " ")
				for (p = 1; p <= fractions; p++)
					for (m = 1; m <= count; m++) {
						cell = target SUBSEP list[m] SUBSEP portions[p]
						if (!(cell in n)) continue
						printf "| %s | %s | %d | %s | %s | %s | %s | %s | %s | %s | %s | %d | %.0f |\n", list[m], portions[p], n[cell],
							shown(cell, 6), shown(cell, 9), shown(cell, 10), shown(cell, 11), shown(cell, 12), shown(cell, 13), shown(cell, 14), shown(cell, 15),
							sum[cell, 16] / n[cell], sum[cell, 17] / n[cell]
					}
			}
		}' "$log"
}
