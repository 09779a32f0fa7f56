/*
 * check_accountant.c
 *	  The accountant of user-level privacy: known values, and what has to grow with what.
 */
#include "check.h"

#include "model/train/accountant.h"

#include <math.h>

static double
epsilon(double sampling, double noise, double rounds, double delta)
{
	return fmoe_epsilon(&(FmoePrivacy) {sampling, noise, delta}, rounds);
}

void
check_accountant(void)
{
	FmoePrivacy usual = {.sampling = 0.01, .noise = 1.1, .delta = 1e-5};
	double		before = 0;
	double		left;

	check_begin("epsilon of the subsampled Gaussian");
	CHECK(fabs(epsilon(0.01, 1.1, 10000, 1e-5) - 6.28) <= 0.01, "6.28 is %g", epsilon(0.01, 1.1, 10000, 1e-5));
	CHECK(fabs(epsilon(0.01, 4, 10000, 1e-5) - 1.26) <= 0.01, "1.26 is %g", epsilon(0.01, 4, 10000, 1e-5));
	/* without sampling the divergence is a / 2 z^2, the same as where almost everybody is sampled */
	CHECK(check_close(fmoe_renyi(1, 2, 5.5), 5.5 / 8, 1e-12) &&
		  check_close(fmoe_renyi(1 - 1e-9, 2, 5.5), 5.5 / 8, 1e-6), "a round of all users tells %g",
		  fmoe_renyi(1 - 1e-9, 2, 5.5));
	/* the two ways meet where an order is nearly whole */
	for (int order = 2; order <= 10; order++)
		CHECK(check_close(fmoe_renyi(0.1, 1.5, order), fmoe_renyi(0.1, 1.5, order + 1e-7), 1e-5),
			  "orders near %d disagree: %g, %g", order, fmoe_renyi(0.1, 1.5, order),
			  fmoe_renyi(0.1, 1.5, order + 1e-7));
	CHECK(epsilon(0, 1, 10, 1e-5) == 0 && epsilon(0.5, 1, 0, 1e-5) == 0, "nobody, or no round, tells something");
	CHECK(isinf(epsilon(0.1, 0, 1, 1e-5)), "without noise epsilon is finite");
	check_end();

	check_begin("epsilon grows with rounds, sampling, and less noise or delta");
	for (double rounds = 1; rounds < 1e5; rounds *= 3)
	{
		CHECK(epsilon(0.01, 1.1, rounds, 1e-5) > before, "%g rounds tell no more than fewer", rounds);
		before = epsilon(0.01, 1.1, rounds, 1e-5);
	}
	before = 0;
	for (double sampling = 0.001; sampling <= 1; sampling *= 1.9)
	{
		CHECK(epsilon(sampling, 1, 100, 1e-5) > before, "sampling %g tells no more than less", sampling);
		before = epsilon(sampling, 1, 100, 1e-5);
	}
	before = INFINITY;
	for (double noise = 0.3; noise < 50; noise *= 1.4)
	{
		CHECK(epsilon(0.05, noise, 100, 1e-5) < before, "noise %g hides no more than less", noise);
		before = epsilon(0.05, noise, 100, 1e-5);
	}
	CHECK(epsilon(0.01, 1, 100, 1e-7) > epsilon(0.01, 1, 100, 1e-5), "a smaller delta costs nothing");
	check_end();

	check_begin("rounds that a budget has");
	for (double budget = 0.3; budget < 20; budget *= 1.7)
	{
		left = fmoe_private_rounds(&usual, budget);
		CHECK(left == floor(left) && (left == 0 || fmoe_epsilon(&usual, left) <= budget) &&
			  fmoe_epsilon(&usual, left + 1) > budget, "%g rounds for %g: %g, then %g", left, budget,
			  fmoe_epsilon(&usual, left), fmoe_epsilon(&usual, left + 1));
	}
	usual.noise = 0;
	CHECK(fmoe_private_rounds(&usual, 10) == 0, "without noise there are rounds");
	check_end();
}
