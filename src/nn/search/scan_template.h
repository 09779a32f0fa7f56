/*
 * scan_template.h
 *	  Products of rows with one vector for one instruction set; included by
 *	  scan.c once for each.
 *
 * Set before: VARIANT(name), VECTOR and INDEX (type names), VECTOR_BYTES.
 */
typedef fnn_real VECTOR __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(fnn_real)), may_alias));
typedef fnn_index INDEX __attribute__((vector_size(VECTOR_BYTES)));

#define WIDTH ((int64_t) (VECTOR_BYTES / sizeof(fnn_real)))

/* The sum of a vector's lanes, each half onto the other. */
static inline __attribute__((always_inline)) fnn_real
VARIANT(lanes_sum) (VECTOR v)
{
#pragma GCC unroll 4
	for (int64_t half = WIDTH / 2; half > 0; half /= 2)
	{
#ifdef __clang__
		VECTOR		other;

#pragma GCC unroll 16
		for (int64_t i = 0; i < WIDTH; i++)
			other[i] = v[(i + half) % WIDTH];
		v += other;
#else
		INDEX		pick;

#pragma GCC unroll 16
		for (int64_t i = 0; i < WIDTH; i++)
			pick[i] = (i + half) % WIDTH;
		v += __builtin_shuffle(v, pick);
#endif
	}
	return v[0];
}

/*
 * ROWS rows at once, so that their sums do not wait for one another.  The
 * columns past the last whole vector are read by a vector that ends with the
 * row, tail holding zeros where they have been counted already.  streams, whether
 * the rows after these come next, is a constant where this is inlined.
 */
static inline __attribute__((always_inline)) void
VARIANT(dots_group) (const bool streams, int64_t cols, const fnn_real *const *row,
					 const fnn_real *vector, VECTOR tail, fnn_real *product)
{
	VECTOR		sum[ROWS];
	int64_t		p = 0;

#pragma GCC unroll 8
	for (int i = 0; i < ROWS; i++)
		sum[i] = (VECTOR) {0};
	for (; p + WIDTH <= cols; p += WIDTH)
	{
		VECTOR		right = *(const VECTOR *) (vector + p);

#pragma GCC unroll 8
		for (int i = 0; i < ROWS; i++)
		{
			if (streams)
				__builtin_prefetch((const char *) (row[i] + p) + AHEAD);
			sum[i] += *(const VECTOR *) (row[i] + p) * right;
		}
	}
	if (p < cols)
	{
#pragma GCC unroll 8
		for (int i = 0; i < ROWS; i++)
			sum[i] += *(const VECTOR *) (row[i] + cols - WIDTH) * tail;
	}
#pragma GCC unroll 8
	for (int i = 0; i < ROWS; i++)
		product[i] = VARIANT(lanes_sum) (sum[i]);
}

static void
VARIANT(dots) (int64_t n, int64_t cols, const fnn_real *table, const int32_t *item,
			   const fnn_real *vector, fnn_real *product)
{
	VECTOR		tail = {0};
	int64_t		length = item == NULL ? n / ROWS : 0;

	if (cols < WIDTH)
	{
		dots_narrow(n, cols, table, item, vector, product);
		return;
	}
	for (int64_t p = cols / WIDTH * WIDTH; p < cols; p++)
		tail[p - cols + WIDTH] = vector[p];
	for (int64_t at = 0; at < length; at++)
	{
		const fnn_real *row[ROWS];
		fnn_real	sum[ROWS];

		for (int i = 0; i < ROWS; i++)
			row[i] = table + (i * length + at) * cols;
		VARIANT(dots_group) (true, cols, row, vector, tail, sum);
		for (int i = 0; i < ROWS; i++)
			product[i * length + at] = sum[i];
	}
	for (int64_t first = length * ROWS; first < n; first += ROWS)
	{
		const fnn_real *row[ROWS];
		fnn_real	sum[ROWS];

		/* the last row stands in for those past the end */
		for (int i = 0; i < ROWS; i++)
			row[i] = row_at(first + i < n ? first + i : n - 1, cols, table, item);
		VARIANT(dots_group) (false, cols, row, vector, tail, sum);
		for (int i = 0; i < ROWS && first + i < n; i++)
			product[first + i] = sum[i];
	}
}

#undef WIDTH
#undef VARIANT
#undef VECTOR
#undef INDEX
#undef VECTOR_BYTES
