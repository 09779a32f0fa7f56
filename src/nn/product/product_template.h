/*
 * product_template.h
 *	  The product for one instruction set; included by product.c once for each.
 *
 * Set before: VARIANT(name), VECTOR (a type name), VECTOR_BYTES, and for the
 * panels of 4, 2 and 1 vectors the rows of their register tile (ROWS_4,
 * ROWS_2, ROWS_1; 0 where the panel is not used).
 */
typedef fnn_real VECTOR __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(fnn_real)), may_alias));

#define WIDTH ((int64_t) (VECTOR_BYTES / sizeof(fnn_real)))

/* rows and vectors are constants where this is inlined, so that sum stays in registers. */
static inline __attribute__((always_inline)) void
VARIANT(tile) (const int rows, const int vectors, int64_t k,
			   const fnn_real *a, int64_t a_row, int64_t a_col,
			   const fnn_real *b, int64_t ldb, bool accumulate, fnn_real *c, int64_t ldc)
{
	VECTOR		sum[12][4];

#pragma GCC unroll 12
	for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
		for (int j = 0; j < vectors; j++)
			sum[i][j] = accumulate ? *(const VECTOR *) (c + i * ldc + j * WIDTH) : (VECTOR) {0};
	for (int64_t p = 0; p < k; p++)
	{
		VECTOR		right[4];

#pragma GCC unroll 4
		for (int j = 0; j < vectors; j++)
			right[j] = *(const VECTOR *) (b + p * ldb + j * WIDTH);
#pragma GCC unroll 12
		for (int i = 0; i < rows; i++)
		{
			fnn_real	left = a[i * a_row + p * a_col];

#pragma GCC unroll 4
			for (int j = 0; j < vectors; j++)
				sum[i][j] += left * right[j];
		}
	}
#pragma GCC unroll 12
	for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
		for (int j = 0; j < vectors; j++)
			*(VECTOR *) (c + i * ldc + j * WIDTH) = sum[i][j];
}

#define TILES(rows, vectors) \
	for (; i + (rows) <= m; i += (rows)) \
		VARIANT(tile) (rows, vectors, k, a + i * a_row, a_row, a_col, b, ldb, accumulate, c + i * ldc, ldc)

/* All rows of a panel of columns: full tiles, then what is left in smaller ones. */
#define PANEL(vectors, full) \
static void \
VARIANT(panel_##vectors) (int64_t m, int64_t k, const fnn_real *a, int64_t a_row, int64_t a_col, \
						  const fnn_real *b, int64_t ldb, bool accumulate, fnn_real *c, int64_t ldc) \
{ \
	int64_t		i = 0; \
 \
	TILES(full, vectors); \
	TILES((full) / 2, vectors); \
	TILES(2, vectors); \
	TILES(1, vectors); \
}

#if ROWS_4
PANEL(4, ROWS_4)
#endif
PANEL(2, ROWS_2)
PANEL(1, ROWS_1)

static void
VARIANT(product) (int64_t m, int64_t n, int64_t k, const fnn_real *a, int64_t a_row, int64_t a_col,
				  const fnn_real *b, int64_t ldb, bool accumulate, fnn_real *c, int64_t ldc)
{
	int64_t		j = 0;

#if ROWS_4
	for (; j + 4 * WIDTH <= n; j += 4 * WIDTH)
		VARIANT(panel_4) (m, k, a, a_row, a_col, b + j, ldb, accumulate, c + j, ldc);
#endif
	for (; j + 2 * WIDTH <= n; j += 2 * WIDTH)
		VARIANT(panel_2) (m, k, a, a_row, a_col, b + j, ldb, accumulate, c + j, ldc);
	for (; j + WIDTH <= n; j += WIDTH)
		VARIANT(panel_1) (m, k, a, a_row, a_col, b + j, ldb, accumulate, c + j, ldc);
}

#undef TILES
#undef PANEL
#undef WIDTH
#undef VARIANT
#undef VECTOR
#undef VECTOR_BYTES
#undef ROWS_4
#undef ROWS_2
#undef ROWS_1
