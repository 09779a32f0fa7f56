# Writes MovieLens, as Debian's package r-cran-dslabs ships it, to two CSV files:
#   Rscript movielens.R FILMS.csv RATINGS.csv
files <- commandArgs(trailingOnly = TRUE)
data(movielens, package = "dslabs")
films <- unique(movielens[c("movieId", "title", "year", "genres")])
films <- films[!duplicated(films$movieId), ]
films$title <- ifelse(is.na(films$title), paste("Film", films$movieId), as.character(films$title))
write.csv(films, files[1], row.names = FALSE, na = "")
write.csv(movielens[c("userId", "movieId", "rating", "timestamp")], files[2], row.names = FALSE, na = "")
