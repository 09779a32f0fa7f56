# evidence-report.sh - the tables that bench/evidence prints of its log.  Sourced by bench/evidence.

# Of all data of the log, or of those of the directories; a mean over seeds and draws stands in a cell
report()
{
	local wanted= directory

	for directory in "${directories[@]}"; do
		wanted+=" $(data_name "$(interactions_of "$directory")")"
	done
	awk -F, -v wanted="$wanted " -v counting=" $counting " '
		NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
		wanted != " " && !index(wanted, " " $1 " ") { next }
		{
			group = $1 SUBSEP $2 SUBSEP $3
			if (!(group in models)) order[++groups] = group
			key = group SUBSEP $5
			if (!(key in n)) models[group] = models[group] (models[group] == "" ? "" : " ") $5
			n[key]++
			for (name in column) {
				value = $column[name]
				if (value == "") continue
				sum[key, name] += value
				squares[key, name] += value * value
				count[key, name]++
			}
			users[group] = $column["users"]
			repeated[group] = $column["repeated"]
		}
		function cell(key, name, digits)
		{
			return count[key, name] ? sprintf("%." digits "f", sum[key, name] / count[key, name]) : ""
		}
		function with_error(key, name, error)
		{
			return count[key, name] ? cell(key, name, 4) (count[key, error] ? " ± " cell(key, error, 4) : "") : ""
		}
		# over_sasrec and the like: with a sign
		function difference(key, name, value)
		{
			value = with_error(key, name, name "_error")
			return value == "" || value ~ /^-/ ? value : "+" value
		}
		# of several draws the spread of their means is the error, of one that over its users
		function spread(key, name, error, k, v)
		{
			k = count[key, name]
			if (k < 2) return with_error(key, name, error)
			v = (squares[key, name] - sum[key, name] ^ 2 / k) / (k - 1)
			return sprintf("%.4f ± %.4f", sum[key, name] / k, sqrt((v > 0 ? v : 0) / k))
		}
		function of_all(key, model)
		{
			printf "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", model, index(counting, " " model " ") ? "" : n[key],
				with_error(key, "ndcg", "ndcg_error"), cell(key, "hr", 4), cell(key, "recall", 4), difference(key, "over_sasrec"),
				difference(key, "over_best"), difference(key, "over_auto"), cell(key, "kept_ndcg", 4), cell(key, "repeat_ndcg", 4),
				cell(key, "other_ndcg", 4), cell(key, "seconds", 1)
		}
		function of_draws(key, model)
		{
			printf "| %s | %s | %s | %s | %s | %s | %s |\n", model, n[key], spread(key, "ndcg", "ndcg_error"), cell(key, "hr", 4),
				spread(key, "cold_ndcg", "cold_error"), spread(key, "over_sasrec", "over_sasrec_error"),
				spread(key, "over_auto", "over_auto_error")
		}
		function heads(group, parts)
		{
			split(group, parts, SUBSEP)
			printf "\n%s, %s", parts[1], parts[2] == "file" ? "by order of file" : "baskets"
			if (parts[3] != "all") {
				printf ", %s; mean ± standard error over draws, over users where there is one:\n\n", parts[3]
				printf "| model | draws | NDCG@10 | HR@10 | NDCG@10 among cold items | over sasrec | over auto |\n"
				printf "| --- | --- | --- | --- | --- | --- | --- |\n"
				return 0
			}
			printf " (%d users; of all, %.1f %% are repeat users):\n\n", users[group], 100 * repeated[group]
			printf "| model | seeds | NDCG@10 | HR@10 | recall@10 | over sasrec | over the best counting expert | over auto"
			printf " | seen kept: NDCG@10 | repeat users | others | seconds |\n"
			printf "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
			return 1
		}
		# NDCG@10 of the best counting expert, with its name
		function best_counting(group, k, i, list, key, best, name)
		{
			k = split(models[group], list, " ")
			for (i = 1; i <= k; i++) {
				key = group SUBSEP list[i]
				if (index(counting, " " list[i] " ") && sum[key, "ndcg"] > best + 0) { best = sum[key, "ndcg"]; name = list[i] }
			}
			return name == "" ? "" : cell(group SUBSEP name, "ndcg", 4) " " name
		}
		function summary(group, auto, parts)
		{
			split(group, parts, SUBSEP)
			auto = group SUBSEP "auto"
			if (parts[3] != "all" || !(auto in n)) return
			printf "| %s | %s | %d | %s | %s | %s | %d | %s | %s |\n", parts[1], parts[2], users[group], best_counting(group),
				with_error(group SUBSEP "sasrec", "ndcg", "ndcg_error"), with_error(auto, "ndcg", "ndcg_error"), n[auto],
				difference(auto, "over_sasrec"), difference(auto, "over_best")
		}
		END {
			printf "| data | order | users | best counting expert | sasrec | auto | seeds | auto over sasrec | over the counting expert |\n"
			printf "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
			for (g = 1; g <= groups; g++) summary(order[g])
			for (g = 1; g <= groups; g++) {
				group = order[g]
				all = heads(group)
				k = split(models[group], list, " ")
				for (i = 1; i <= k; i++)
					if (all) of_all(group SUBSEP list[i], list[i]); else of_draws(group SUBSEP list[i], list[i])
			}
		}' "$log"
}
