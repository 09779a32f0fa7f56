/*
 * accountant.h
 *	  What a training tells of single users: the accountant of user-level differential privacy.
 *
 * A round samples each user with probability q, by himself (Poisson), clips each user's
 * difference to norm C and adds Gaussian noise of deviation z C to their sum, once.  Renyi
 * differential privacy adds up over rounds; it is that of the subsampled Gaussian (Mironov,
 * Talwar & Zhang 2019, "Renyi Differential Privacy of the Sampled Gaussian Mechanism",
 * sections 3.3), and becomes epsilon at delta by epsilon = T RDP(a) + ln(1 / delta) / (a - 1),
 * the least over the orders 1.1 .. 10.9 and 12 .. 63.  Neighbours differ in one user.
 */
#ifndef FMOE_MODEL_TRAIN_ACCOUNTANT_H
#define FMOE_MODEL_TRAIN_ACCOUNTANT_H

/* What all rounds of a training have in common. */
typedef struct FmoePrivacy
{
	double		sampling;		/* q, 0 .. 1 */
	double		noise;			/* z, at least 0 */
	double		delta;			/* above 0 and below 1 */
} FmoePrivacy;

/* Renyi divergence at an order above 1 that one round tells; infinite without noise. */
extern double fmoe_renyi(double sampling, double noise, double order);
/* epsilon after so many rounds; 0 for none, infinite without noise. */
extern double fmoe_epsilon(const FmoePrivacy *privacy, double rounds);
/* How many rounds, a whole number, stay within epsilon; infinite where nobody is sampled. */
extern double fmoe_private_rounds(const FmoePrivacy *privacy, double epsilon);

#endif							/* FMOE_MODEL_TRAIN_ACCOUNTANT_H */
