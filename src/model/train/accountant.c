/*
 * accountant.c
 *	  Renyi differential privacy of the subsampled Gaussian mechanism.
 *
 * All sums are of logarithms, since their terms go beyond what a double holds.
 */
#include "model/train/accountant.h"

#include <math.h>
#include <stdbool.h>

#define TENTHS 99				/* orders 1.1 .. 10.9 */
#define FIRST_WHOLE 12
#define LAST_WHOLE 63
#define ORDERS (TENTHS + LAST_WHOLE - FIRST_WHOLE + 1)
#define SERIES_END (-30.0)		/* logarithm of terms that no longer count */
#define TERMS_MAX 100000		/* of a series, which alternates and falls long before */
#define LARGE 10.0				/* from here on erfc by its asymptotic series */

static double
order_of(int i)
{
	return i < TENTHS ? 1 + (i + 1) / 10.0 : FIRST_WHOLE + i - TENTHS;
}

/* ln(e^a + e^b) */
static double
log_add(double a, double b)
{
	double		most = fmax(a, b);

	return most == -INFINITY ? most : most + log1p(exp(fmin(a, b) - most));
}

/* ln(e^a - e^b), where the first is larger but for rounding */
static double
log_subtract(double a, double b)
{
	return b >= a ? -INFINITY : a + log1p(-exp(b - a));
}

/* ln(erfc(x)), without its underflow */
static double
log_erfc(double x)
{
	double		r = 1 / (2 * x * x);

	if (x < LARGE)
		return log(erfc(x));
	return -x * x - log(x * sqrt(M_PI)) + log1p(-r * (1 - 3 * r * (1 - 5 * r)));
}

/* ln of the sum over i <= order of C(order, i) (1 - q)^(order - i) q^i e^((i^2 - i) / 2 z^2) (section 3.3.1). */
static double
log_moment_whole(double q, double z, int order)
{
	double		sum = -INFINITY;
	double		coefficient = 0;

	for (int i = 0; i <= order; i++)
	{
		if (i > 0)
			coefficient += log((order - i + 1) / (double) i);
		sum = log_add(sum, coefficient + i * log(q) + (order - i) * log1p(-q) + (i * (double) i - i) / (2 * z * z));
	}
	return sum;
}

/* The same of an order that is no whole number: two series, split where both densities are equal (section 3.3.2). */
static double
log_moment_between(double q, double z, double order)
{
	double		split = z * z * log(1 / q - 1) + 0.5;
	double		low = -INFINITY;
	double		high = -INFINITY;
	double		coefficient = 1;

	for (int i = 0; i < TERMS_MAX; i++)
	{
		double		j = order - i;
		double		size = log(fabs(coefficient));
		double		of_low = size + i * log(q) + j * log1p(-q) + (i * (double) i - i) / (2 * z * z) +
			log(0.5) + log_erfc((i - split) / (M_SQRT2 * z));
		double		of_high = size + j * log(q) + i * log1p(-q) + (j * j - j) / (2 * z * z) +
			log(0.5) + log_erfc((split - j) / (M_SQRT2 * z));

		low = coefficient > 0 ? log_add(low, of_low) : log_subtract(low, of_low);
		high = coefficient > 0 ? log_add(high, of_high) : log_subtract(high, of_high);
		if (fmax(of_low, of_high) < SERIES_END)
			break;
		coefficient *= j / (i + 1);
	}
	return log_add(low, high);
}

double
fmoe_renyi(double sampling, double noise, double order)
{
	bool		whole = order == floor(order);
	double		moment;

	if (sampling <= 0)
		return 0;
	if (noise <= 0)
		return INFINITY;
	if (sampling >= 1)
		return order / (2 * noise * noise);
	moment = whole ? log_moment_whole(sampling, noise, (int) order) : log_moment_between(sampling, noise, order);
	return fmax(moment, 0) / (order - 1);
}

double
fmoe_epsilon(const FmoePrivacy *privacy, double rounds)
{
	double		least = INFINITY;

	if (rounds <= 0 || privacy->sampling <= 0)
		return 0;
	for (int i = 0; i < ORDERS && privacy->noise > 0; i++)
	{
		double		order = order_of(i);

		least = fmin(least, rounds * fmoe_renyi(privacy->sampling, privacy->noise, order) -
					 log(privacy->delta) / (order - 1));
	}
	return least;
}

double
fmoe_private_rounds(const FmoePrivacy *privacy, double epsilon)
{
	double		most = 0;

	if (privacy->sampling <= 0)
		return INFINITY;
	for (int i = 0; i < ORDERS && privacy->noise > 0; i++)
	{
		double		order = order_of(i);
		double		left = epsilon + log(privacy->delta) / (order - 1);

		if (left > 0)
			most = fmax(most, floor(left / fmoe_renyi(privacy->sampling, privacy->noise, order)));
	}
	/* a last round that rounding has let in */
	while (most > 0 && isfinite(most) && fmoe_epsilon(privacy, most) > epsilon)
		most--;
	return most;
}
